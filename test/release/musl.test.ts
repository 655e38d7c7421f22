/**
 * The published packages on a system with musl and nothing but Node: a root like Alpine's, of Debian's musl and BusyBox and of the Node
 * that PyPI has for musl, entered by chroot. Pictures, and all golden cases. Needs root, debootstrap, pip and what scripts/prebuild makes.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { packageRoot } from '../../lib/native/index.js'
import { goldenFiles, makeAddonClone } from '../support/addon-clone.js'
import { drawInRoot, found, keptRoot, program, runInRoot } from '../support/bare-root.js'
import { makeMusl } from '../support/musl-root.js'
import { publishRelease } from '../support/published-release.js'
import { skipUnless } from '../support/skip-unless.js'

const platform = 'linux-x64-musl'
const addon = join(packageRoot, 'prebuilds', platform, 'star-t2i.node')
const own = join(packageRoot, 'prebuilds', 'linux-x64', 'star-t2i.node')
const skip = skipUnless([
  [process.getuid?.() === 0, 'root: chroot needs it'],
  [found('debootstrap'), 'debootstrap: apt-get install debootstrap'],
  [found('python3'), 'python3 with pip: apt-get install python3-pip'],
  [existsSync(addon), `${addon}: scripts/prebuild ${platform} makes it`],
  [existsSync(own), `${own}: scripts/prebuild makes it`],
])

const pixels = async (picture: Buffer): Promise<Buffer> => sharp(picture).raw().toBuffer()

t.test('musl', { skip }, async (t) => {
  const folder = t.testdir({ here: { 'package.json': '{ "private": true }', 'program.mjs': program } })
  const registry = await publishRelease(t, folder, { 'linux-x64': own, [platform]: addon })

  const here = join(folder, 'here')
  await registry.npm(['install', 'star-t2i'], here)
  execFileSync(process.execPath, ['program.mjs'], { cwd: here })
  const expected = await pixels(readFileSync(join(here, 'program.png')))
  const root = keptRoot('musl', makeMusl)
  const app = join(root, 'app')

  await t.test('the picture of glibc, up to rounding', async (t) => {
    const [byProgram, byCommand] = drawInRoot(root, registry.url)
    t.same(readdirSync(join(app, 'node_modules', '@star-t2i')), [platform], 'npm takes the addon for musl')
    t.ok(byCommand.equals(byProgram), 'program and command draw the same file')
    const drawn = await pixels(byProgram)
    t.equal(drawn.length, expected.length)
    const most = drawn.reduce((worst, value, i) => Math.max(worst, Math.abs(value - expected[i])), 0)
    t.ok(most <= 1, `values of 0 to 255 differ by ${most} at most`)
  })

  await t.test('golden cases', async (t) => {
    const seenAs = (path: string): string =>
      path.startsWith(root) ? path.slice(root.length) : path.replace(packageRoot, '/project')
    const clone = join(app, 'clone')
    makeAddonClone({ folder: clone, addon, packages: join(app, 'node_modules'), seenAs })
    // What a test prints is no part of what this one prints.
    const run = (file: string): void =>
      runInRoot(
        root,
        `cd /app/clone
export TAP_TIMEOUT=1200
node dist/test/goldens/${file} >/app/golden.log 2>&1 || { tail -n 60 /app/golden.log >&2; exit 1; }`,
        { '/project': packageRoot },
      )
    for (const file of goldenFiles()) t.doesNotThrow(() => run(file), basename(file, '.test.js'))
  })
})
