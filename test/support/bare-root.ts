/** Roots with a system that has nothing but Node, kept for the next time, and what a user of the published packages does in them. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'star-t2i', 'roots')

/** Whether `command` can be called here. */
export function found(command: string): boolean {
  try {
    execFileSync('which', [command], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Folder of the root `name`, which `make` fills the first time. */
export function keptRoot(name: string, make: (root: string) => void): string {
  const root = join(cache, name)
  const made = join(root, 'etc', 'star-root')
  if (!existsSync(made)) {
    rmSync(root, { recursive: true, force: true })
    mkdirSync(root, { recursive: true })
    make(root)
    mkdirSync(join(root, 'etc'), { recursive: true })
    writeFileSync(made, name)
  }
  return root
}

/** Writes a command of `root` that is a shell script. */
export function writeCommand(root: string, name: string, script: string): void {
  writeFileSync(join(root, 'usr', 'bin', name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
}

/**
 * Runs a shell script in `root`, with the environment of a login there. Of the host the root sees /proc, as every container does,
 * and the folders in `mounts`, by their path in the root, in a mount namespace that ends with the script.
 */
export function runInRoot(root: string, script: string, mounts: Readonly<Record<string, string>> = {}): void {
  const steps = Object.entries({ '/proc': '/proc', ...mounts }).map(([at, folder]) => {
    mkdirSync(join(root, at), { recursive: true })
    return `mount --rbind '${folder}' '${join(root, at)}'`
  })
  const enter = [...steps, 'exec chroot "$0" /bin/sh -c "$1"'].join(' && ')
  execFileSync('unshare', ['--mount', '/bin/sh', '-c', enter, root, `set -eu\n${script}`], {
    env: { PATH: process.env.PATH, HOME: '/app' },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
}

/** The README's program, with a path for the picture. */
export const program = `import { Star } from 'star-t2i'

const star = await Star.load('emoji-64', { device: 'cpu' })
const { images } = await star.generate('a red apple', { seed: 42 })
await images[0].save('program.png')
await star.dispose()
`

const commands = (registry: string): string => `export PATH=/usr/bin:/bin npm_config_registry=${registry}
export npm_config_cache=/app/cache npm_config_update_notifier=false npm_config_loglevel=error
cd /app
begin=$(date +%s)
npm install star-t2i
echo "installed in $(($(date +%s) - begin)) s, $(du -sm node_modules | cut -f1) MB"
npm ls
node program.mjs
npx star-t2i sample "a red apple" --seed 42 --device cpu --out command.png
`

/** Installs star-t2i from `registry` into /app of `root`, and gives the files that the program and the command draw. */
export function drawInRoot(root: string, registry: string): Buffer[] {
  const app = join(root, 'app')
  rmSync(app, { recursive: true, force: true })
  mkdirSync(app)
  writeFileSync(join(app, 'package.json'), '{ "private": true }')
  writeFileSync(join(app, 'program.mjs'), program)
  runInRoot(root, commands(registry))
  return ['program.png', 'command.png'].map((name) => readFileSync(join(app, name)))
}
