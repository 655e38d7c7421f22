import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
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
function run(source: string, env: NodeJS.ProcessEnv = {}): { stdout: string; stderr: string } {
  const imports = `import { devices, loadBackendPlugin } from './dist/lib/native/devices.js'
import { resolveDevice } from './dist/lib/tensor/index.js'
import { Star } from './dist/lib/index.js'
import { readFileSync } from 'node:fs'
const mapped = () => /star_cuda|libcuda|cublas|cudnn/.test(readFileSync('/proc/self/maps', 'utf8'))
`
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', imports + source], {
    cwd: packageRoot,
    env: { ...process.env, ...env },
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
      detail:
        /no CUDA plugin \(\/nowhere\/a\/\S+ and \/nowhere\/b\/\S+ not there\).*@star-t2i\/linux-x64-cuda.*npm run build:cuda/,
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
  'without a driver: the report, the fall-back that the caller is told of, the refusal',
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
    for (const options of [{}, { device: 'auto' }]) {
      const star = await Star.load('emoji-64', { ...options, onNotice: (message) => console.log(message) })
      console.log(star.device)
      await star.dispose()
    }`)
    const notice = /running on the CPU, not on a GPU: no NVIDIA driver was found[^\n]*/
    t.match(stdout, new RegExp(`^(${notice.source}\ncpu\n){2}$`), 'one line for each model')
    t.equal(stderr, '')
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

/**
 * The plugin over the host runtime, which has a driver and a GPU, but looks for NVIDIA's libraries as the real one does. `info`
 * gives what `star info` and the choice of a device say there.
 */
function info(env: NodeJS.ProcessEnv): { report: string; auto: string; cuda: string } {
  const source = `
    loadBackendPlugin('build/star_cuda_on_simt.so')
    const { main } = await import('./dist/lib/cli/main.js')
    await main(['node', 'star', 'info'])
    console.log('auto:', resolveDevice('auto'))
    try { console.log('cuda:', resolveDevice('cuda')) } catch (error) { console.log('cuda:', error.code, error.message) }`
  const unset = { CUDA_HOME: '', VIRTUAL_ENV: '', CONDA_PREFIX: '', LD_LIBRARY_PATH: '' }
  const { stdout, stderr } = run(source, { ...unset, ...env })
  if (stderr) throw new Error(stderr)
  const find = (name: string): string => new RegExp(`^${name} *(.*)$`, 'm').exec(stdout)?.[1] ?? stdout
  return { report: find('device cuda'), auto: find('auto:'), cuda: find('cuda:') }
}

/** A library that loads and holds nothing, under the name of another. */
function libraryAt(...path: string[]): void {
  const file = join(...path)
  mkdirSync(dirname(file), { recursive: true })
  const { status, stderr } = spawnSync('c++', ['-shared', '-x', 'c++', '-o', file, '/dev/null'], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
}

/** The first of NVIDIA's libraries that every program finds on this machine: tests that leave one out would find it there. */
function libraryOfSystem(): string | undefined {
  const toolkits = readdirSync('/usr/local').filter((name) => name.startsWith('cuda'))
  const folders = ['/opt/cuda', ...toolkits.map((name) => join('/usr/local', name))]
  const cached = spawnSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' }).stdout ?? ''
  return ['libcublasLt.so.13', 'libcudnn.so.9']
    .flatMap((file) => [
      ...folders.map((folder) => join(folder, 'lib64', file)).filter((path) => existsSync(path)),
      ...cached.split('\n').filter((line) => line.includes(file)),
    ])
    .at(0)
    ?.trim()
}
const installed = libraryOfSystem()
const skipWithLibraries = installed ? `this machine has ${installed}` : false

t.test('with a driver: the reports about the libraries', { skip: skipWithLibraries }, async (t) => {
  const bare = info({})
  const places =
    "CUDA_HOME (not set), /usr/local/cuda*, /opt/cuda, the system's library path, VIRTUAL_ENV (not set), CONDA_PREFIX (not set)"
  const remedy =
    'Install it with the CUDA 13 toolkit and set CUDA_HOME, or activate a Python environment and run: pip install'
  const missing = (title: string, file: string, looked: string, wheel: string) =>
    `${title} was not found: ${file} was looked for in ${looked}. ${remedy} ${wheel}`
  const noBlas = missing('cuBLAS 13', 'libcublasLt.so.13', places, 'nvidia-cublas')
  const both =
    `cuBLAS 13 and cuDNN 9 were not found: libcublasLt.so.13 and libcudnn.so.9 were looked for in ${places}. ` +
    `${remedy.replace('Install it', 'Install them')} nvidia-cublas nvidia-cudnn-cu13`
  t.same(bare, {
    report: `not available: ${both}`,
    auto: 'cpu',
    cuda: `ERR_DEVICE device "cuda" is not available: ${both}; choose one of auto, cpu`,
  })

  const root = t.testdir()
  const home = join(root, 'toolkit')
  const venv = join(root, 'venv')
  const conda = join(root, 'conda')
  const wheels = ['lib', 'python3.12', 'site-packages', 'nvidia']
  libraryAt(home, 'lib64', 'libcublasLt.so.13')
  const looked = places.replace('CUDA_HOME (not set)', `CUDA_HOME=${home}`)
  const noDnn = missing('cuDNN 9', 'libcudnn.so.9', looked, 'nvidia-cudnn-cu13')
  t.match(info({ CUDA_HOME: home }), { report: `not available: ${noDnn}`, auto: 'cpu' })

  libraryAt(venv, ...wheels, 'cudnn', 'lib', 'libcudnn.so.9')
  t.match(info({ VIRTUAL_ENV: venv }), {
    report: `not available: ${noBlas.replace('VIRTUAL_ENV (not set)', `VIRTUAL_ENV=${venv}`)}`,
  })
  const all = /^SIMT on the CPU, compute capability 8\.0, \d+ MiB, driver for CUDA 13\.0$/
  t.match(info({ CUDA_HOME: home, VIRTUAL_ENV: venv }), { report: all, auto: 'cuda', cuda: 'cuda' })
  libraryAt(conda, ...wheels, 'cu13', 'lib', 'libcublasLt.so.13')
  t.match(info({ CONDA_PREFIX: conda, VIRTUAL_ENV: venv }), { report: all })

  // CUDA_HOME goes first, and what it has there may be damaged.
  writeFileSync(join(home, 'lib64', 'libcudnn.so.9'), 'no library')
  t.match(
    info({ CUDA_HOME: home }).report,
    /cuDNN 9 does not load: .*toolkit\/lib64\/libcudnn\.so\.9: file too short\. Inst/,
  )
})

t.test('the parts of cuDNN come from where cuDNN was found, whatever LD_LIBRARY_PATH holds', async (t) => {
  const root = t.testdir({ 'empty.c': '' })
  const compile = (file: string, soname: string, ...rest: string[]): void => {
    mkdirSync(dirname(file), { recursive: true })
    const args = ['-shared', '-fPIC', `-Wl,-soname,${soname}`, '-o', file, join(root, 'empty.c'), ...rest]
    const { status, stderr } = spawnSync('c++', args, { encoding: 'utf8' })
    if (status !== 0) throw new Error(stderr)
  }
  const home = join(root, 'toolkit', 'lib64')
  const other = join(root, 'other')
  const part = 'libcudnn_graph.so.9'
  for (const folder of [home, other]) compile(join(folder, part), part)
  compile(join(home, 'libcudnn.so.9'), 'libcudnn.so.9', '-Wl,--no-as-needed', `-L${home}`, `-l:${part}`)
  libraryAt(home, 'libcublasLt.so.13')
  const { stdout } = run(
    `
    loadBackendPlugin('build/star_cuda_on_simt.so')
    console.log(devices().find(({ name }) => name === 'cuda').available)
    const parts = readFileSync('/proc/self/maps', 'utf8').match(/\\S*libcudnn_graph\\S*/g)
    console.log([...new Set(parts)].join())`,
    { CUDA_HOME: join(root, 'toolkit'), VIRTUAL_ENV: '', CONDA_PREFIX: '', LD_LIBRARY_PATH: other },
  )
  t.equal(stdout, `true\n${join(home, part)}\n`)
})

t.test('machines that cannot run the kernels are refused with the reason', async (t) => {
  const driver = 'install driver 580 or newer'
  const gpu = 'use an NVIDIA GPU of the Ampere generation or newer'
  for (const [machine, reason] of [
    ['driver=0', `no NVIDIA driver was found: ${driver}`],
    ['driver=12040', `the NVIDIA driver is made for CUDA 12.4, 13.0 is needed: ${driver}`],
    [
      'devices=0',
      'no NVIDIA GPU can be used (no CUDA-capable device is detected): check nvidia-smi, and CUDA_VISIBLE_DEVICES if it is set',
    ],
    ['capability=75', `SIMT on the CPU has compute capability 7.5, 8.0 is needed: ${gpu}`],
  ])
    t.same(info({ STAR_SIMT_MACHINE: machine }), {
      report: `not available: ${reason}`,
      auto: 'cpu',
      cuda: `ERR_DEVICE device "cuda" is not available: ${reason}; choose one of auto, cpu`,
    })
})

t.test('a library without a function that is needed', async (t) => {
  const home = t.testdir()
  libraryAt(home, 'lib64', 'libcublasLt.so.13')
  libraryAt(home, 'lib64', 'libcudnn.so.9')
  const { stdout } = run(
    `
    loadBackendPlugin('build/star_cuda_on_simt.so')
    const { matmul, Tensor } = await import('./dist/lib/tensor/index.js')
    const x = Tensor.from(new Float32Array(4), [2, 2], { device: 'cuda' })
    try { matmul(x, x) } catch (error) { console.log(error.name, error.code, error.message) }`,
    { CUDA_HOME: home },
  )
  t.match(stdout, /^StarError ERR_DEVICE cuBLAS 13: libcublasLt\.so\.13 has no function \w+: install a newer version/)
})
