import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { cudaPluginFiles, devices, loadBackendPlugin } from '../../../lib/native/devices.js'
import { native, packageRoot } from '../../../lib/native/index.js'
import { resolveDevice } from '../../../lib/tensor/index.js'
import { star } from '../../support/star-command.js'

const plugin = cudaPluginFiles[0]
/** Why a test that needs the plugin is left out, or false. */
const skip = existsSync(plugin) ? false : 'build-cuda/star_cuda.so is not built: npm run build:cuda'
const noDriver = /no NVIDIA driver was found: install driver 580 or newer/
/** A GPU machine shows other reports than the ones written here. */
const skipWithDriver = existsSync('/proc/driver/nvidia/version') ? 'this machine has an NVIDIA driver' : skip

const refused = (message: RegExp) => ({ name: 'StarError', code: 'ERR_DEVICE', message })

/** Runs a module in a process of its own, which has loaded nothing before. */
function run(source: string): { stdout: string; stderr: string } {
  const imports = `import { devices, loadBackendPlugin } from './dist/lib/native/devices.js'
import { resolveDevice } from './dist/lib/tensor/index.js'
import { Star } from './dist/lib/index.js'
import { readFileSync } from 'node:fs'
const mapped = () => /star_cuda|libcuda|cublas|cudnn/.test(readFileSync('/proc/self/maps', 'utf8'))
`
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', imports + source], {
    cwd: packageRoot,
    encoding: 'utf8',
  })
  if (child.status !== 0) throw new Error(child.stderr)
  return child
}

// The first tests load no plugin, so they come before the ones that do.
t.test('without a plugin the report says what is missing and how to get it', async (t) => {
  const files = ['/nowhere/a/star_cuda.so', '/nowhere/b/star_cuda.so']
  t.match(devices(files), [
    { name: 'cpu', available: true },
    {
      name: 'cuda',
      available: false,
      detail: /no CUDA plugin \(neither \/nowhere\/a\/\S+ nor \/nowhere\/b\/\S+ is there\).*npm run build:cuda/,
    },
  ])
})

t.test('a file that is no plugin is refused, and the report says so', async (t) => {
  const text = join(t.testdir({ 'text.so': 'no library' }), 'text.so')
  t.throws(() => loadBackendPlugin(text), refused(/text\.so: .*Build it on this machine with "npm run build:cuda"/))
  t.throws(() => loadBackendPlugin('/nowhere.so'), refused(/nowhere\.so: cannot open shared object file/))
  // The addon is a library that loads, and no plugin.
  const addon = join(packageRoot, 'build', 'star.node')
  t.throws(() => loadBackendPlugin(addon), refused(/star\.node is no plugin of star-t2i/))
  t.match(devices(['/nowhere.so', text])[1], { name: 'cuda', available: false, detail: /text\.so/ })
  t.same(
    native.devices().map((device) => device.name),
    ['cpu'],
  )
})

t.test('a plugin built from other sources is refused', { skip }, async (t) => {
  const bytes = readFileSync(plugin)
  const mark = 'star-core-'
  const at = bytes.indexOf(mark)
  t.ok(at > 0, 'the plugin holds the digest of what it was built from')
  bytes.write('0'.repeat(12), at + mark.length)
  const other = join(t.testdir(), 'star_cuda.so')
  writeFileSync(other, bytes)
  t.throws(
    () => loadBackendPlugin(other),
    refused(/was built from other sources \(star-core-000000000000\) than the addon/),
  )
})

t.test('the CPU is used without a look at the plugin', { skip }, async (t) => {
  const { stdout, stderr } = run(`
    const star = await Star.load('emoji-64', { device: 'cpu' })
    console.log(star.device, resolveDevice('cpu'), mapped())
    devices()
    console.log(mapped())`)
  t.equal(stdout, 'cpu cpu false\ntrue\n')
  t.equal(stderr, '')
})

t.test(
  'without a driver: the report, the fall-back that says so once, the refusal',
  { skip: skipWithDriver },
  async (t) => {
    t.match(devices(), [
      { name: 'cpu', available: true },
      { name: 'cuda', available: false, detail: noDriver },
    ])
    t.equal(loadBackendPlugin(plugin), 'cuda', 'loading it again is harmless')
    t.equal(native.devices().length, 2)
    t.throws(
      () => resolveDevice('cuda'),
      refused(/device "cuda" is not available: .*driver.*; choose one of auto, cpu$/),
    )
    t.throws(() => native.empty([2], 'f32', 'cuda'), refused(noDriver))

    const { stdout, stderr } = run(`
    for (const options of [{}, { device: 'auto' }, { device: 'auto' }]) {
      const star = await Star.load('emoji-64', options)
      console.log(star.device)
      star.dispose()
    }`)
    t.equal(stdout, 'cpu\ncpu\ncpu\n')
    t.match(stderr, /^running on the CPU, not on a GPU: no NVIDIA driver was found[^\n]*\n$/, 'one line')
  },
)

t.test('the command: info reports, --device cuda fails with the remedy', { skip: skipWithDriver }, async (t) => {
  const info = await star(['info'])
  t.equal(info.stderr, '')
  t.match(info.stdout, /^device cuda +not available: no NVIDIA driver was found: install driver 580 or newer$/m)
  t.match(JSON.parse((await star(['info', '--json'])).stdout), {
    devices: [{ name: 'cpu' }, { name: 'cuda', available: false, detail: noDriver }],
  })
  const out = join(t.testdir(), 'picture.png')
  const sample = await star(['sample', 'an apple', '--out', out, '--device', 'cuda'])
  t.equal(sample.code, 2)
  t.match(sample.stderr, /^error: device "cuda" is not available: no NVIDIA driver was found[^\n]*\n$/)
  t.notOk(existsSync(out))
})
