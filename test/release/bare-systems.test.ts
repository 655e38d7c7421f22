/**
 * The published packages on systems that have nothing but Node: roots of Debian 12 and 13 made by debootstrap, entered by chroot. What
 * is drawn there is the same file as on the machine that built the addon. Needs root, debootstrap and what scripts/prebuild makes.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../lib/native/index.js'
import { makeTarballs } from '../../scripts/release-packages.js'
import { LocalRegistry } from '../support/local-registry.js'
import { skipUnless } from '../support/skip-unless.js'

const addon = join(packageRoot, 'prebuilds', 'linux-x64', 'star-t2i.node')
const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'star-t2i', 'roots')

function found(command: string): boolean {
  try {
    execFileSync('which', [command], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

const skip = skipUnless([
  [process.getuid?.() === 0, 'root: chroot needs it'],
  [found('debootstrap'), 'debootstrap: apt-get install debootstrap'],
  [existsSync(addon), `${addon}: scripts/prebuild makes it`],
])

/** The archive that this machine's apt is set up with. */
function archive(): string {
  const format = '$(LABEL) $(REPO_URI)'
  const lines = execFileSync('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'], {
    encoding: 'utf8',
  })
  const line = lines.split('\n').find((entry) => entry.startsWith('Debian '))
  if (!line) throw new Error('apt knows no Debian archive here: run apt-get update on a Debian system')
  return line.slice('Debian '.length)
}

/** A root with the required packages of a release, and this machine's Node with npm; kept for the next time. */
function bareRoot(suite: string): string {
  const root = join(cache, suite)
  const made = join(root, 'etc', 'star-root')
  if (!existsSync(made)) {
    rmSync(root, { recursive: true, force: true })
    mkdirSync(root, { recursive: true })
    execFileSync('debootstrap', ['--variant=minbase', suite, root, archive()], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    // npm is a script beside Node's own libraries.
    const npm = dirname(dirname(realpathSync(execFileSync('which', ['npm'], { encoding: 'utf8' }).trim())))
    cpSync(process.execPath, join(root, 'usr', 'bin', 'node'))
    cpSync(npm, join(root, 'usr', 'lib', 'npm'), { recursive: true })
    for (const name of ['npm', 'npx'])
      writeFileSync(join(root, 'usr', 'bin', name), `#!/bin/sh\nexec node /usr/lib/npm/bin/${name}-cli.js "$@"\n`, {
        mode: 0o755,
      })
    writeFileSync(made, suite)
  }
  return root
}

const program = `import { Star } from 'star-t2i'

const star = await Star.load('emoji-64', { device: 'cpu' })
const { images } = await star.generate('a red apple', { seed: 42 })
await images[0].save('program.png')
await star.dispose()
`
// The environment of a login there, not of the test.
const commands = (registry: string): string => `set -eu
export HOME=/app PATH=/usr/bin:/bin npm_config_registry=${registry} npm_config_cache=/app/cache npm_config_update_notifier=false
export npm_config_loglevel=error
cd /app
begin=$(date +%s)
npm install star-t2i
echo "installed in $(($(date +%s) - begin)) s, $(du -sm node_modules | cut -f1) MB"
npm ls
node program.mjs
npx star-t2i sample "a red apple" --seed 42 --device cpu --out command.png
`

function drawIn(root: string, registry: string): Buffer[] {
  const app = join(root, 'app')
  rmSync(app, { recursive: true, force: true })
  mkdirSync(app)
  writeFileSync(join(app, 'package.json'), '{ "private": true }')
  writeFileSync(join(app, 'program.mjs'), program)
  // Of the host the root sees /proc, as every container does, in a mount namespace that ends with the command.
  const enter = 'mount -t proc proc "$0/proc" && exec chroot "$0" /bin/bash -c "$1"'
  execFileSync('unshare', ['--mount', '/bin/sh', '-c', enter, root, commands(registry)], {
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  return ['program.png', 'command.png'].map((name) => readFileSync(join(app, name)))
}

t.test('bare Debian 12 and 13', { skip }, async (t) => {
  const folder = t.testdir({ here: { 'package.json': '{ "private": true }', 'program.mjs': program } })
  execFileSync('npm', ['run', '--silent', 'sbom'], { cwd: packageRoot })
  const tarballs = await makeTarballs({ folder: join(folder, 'tarballs'), addons: { 'linux-x64': addon } })
  const registry = await LocalRegistry.start(join(folder, 'registry'))
  t.teardown(() => registry.stop())
  for (const file of tarballs) await registry.npm(['publish', file, '--access', 'public'], folder)

  const here = join(folder, 'here')
  await registry.npm(['install', 'star-t2i'], here)
  execFileSync(process.execPath, ['program.mjs'], { cwd: here })
  const expected = readFileSync(join(here, 'program.png'))
  for (const suite of ['bookworm', 'trixie']) {
    const root = bareRoot(suite)
    t.notOk(existsSync(join(root, 'usr/lib/x86_64-linux-gnu/libgomp.so.1')), `${suite} is bare`)
    const [byProgram, byCommand] = drawIn(root, registry.url)
    t.ok(byProgram.equals(expected), `${suite}: the program draws the same picture as here`)
    t.ok(byCommand.equals(expected), `${suite}: so does the command`)
  }
})
