/**
 * `node dist/test/release/installed.js TARBALLS`: the packages of scripts/release on the system this runs on. Installs star-t2i and the
 * package of this platform from their tarballs, draws the README's picture, and runs the golden cases with the installed addon.
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const program = `import { Star } from 'star-t2i'

const star = await Star.load('emoji-64')
const { images } = await star.generate('a red apple', { seed: 42 })
await images[0].save('apple.png')
console.log(images[0].width, images[0].height)
await star.dispose()
`

const [given] = process.argv.slice(2)
if (!given) throw new Error('usage: node dist/test/release/installed.js TARBALLS')
const tarballs = resolve(given)
const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..')
const { glibcVersionRuntime } = (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header
const musl = process.platform === 'linux' && !glibcVersionRuntime ? '-musl' : ''
const platform = `${process.platform}-${process.arch}${musl}`
const named = (pattern: RegExp): string => {
  const found = readdirSync(tarballs).find((name) => pattern.test(name))
  if (!found) throw new Error(`${tarballs} has no tarball for ${pattern}`)
  return join(tarballs, found)
}

const app = mkdtempSync(join(tmpdir(), 'star-installed-'))
try {
  writeFileSync(join(app, 'package.json'), '{ "private": true }')
  writeFileSync(join(app, 'program.mjs'), program)
  const files = [named(/^star-t2i-\d/), named(new RegExp(`^star-t2i-${platform}-\\d`))]
  execFileSync('npm', ['install', ...files], { cwd: app, stdio: 'inherit', shell: process.platform === 'win32' })
  const size = execFileSync(process.execPath, ['program.mjs'], { cwd: app, encoding: 'utf8' }).trim()
  if (size !== '64 64') throw new Error(`the picture has ${size} pixels, expected 64 64`)

  // Tests load the addon that a clone has built.
  mkdirSync(join(root, 'build'), { recursive: true })
  copyFileSync(join(app, 'node_modules', '@star-t2i', platform, 'star-t2i.node'), join(root, 'build', 'star.node'))
} finally {
  rmSync(app, { recursive: true })
}
const goldens = join(root, 'dist', 'test', 'goldens')
for (const name of readdirSync(goldens).filter((file) => file.endsWith('.test.js'))) {
  console.log(name)
  execFileSync(process.execPath, [join(goldens, name)], { stdio: ['ignore', 'ignore', 'inherit'] })
}
console.log(`${platform}: the picture and all golden cases`)
