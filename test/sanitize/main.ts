/**
 * The addon and the native tests under sanitizers: npm run sanitize -- [--with address|thread] [--time 60]
 *
 * Builds both (scripts/build-sanitized), then runs the native tests on the CPU; those unit tests that use threads, files and groups
 * most, with that addon in place of the usual one; and for some seconds the attack on every function of the addon, on several
 * threads. Each report of a sanitizer, in whatever process, is printed; where there is one, or a test fails, it ends with 1.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { packageRoot, StarError } from '../../lib/native/index.js'
import { makeAddonClone } from '../support/addon-clone.js'

interface Sanitizer {
  /** Where scripts/build-sanitized builds. */
  folder: string
  /** Libraries that node, which is built without, is to load before its own. */
  libraries: readonly string[]
  /** Environment, with reports to files that begin with `path`. */
  env(path: string): Record<string, string>
}

const sanitizers: Readonly<Record<string, Sanitizer>> = {
  address: {
    folder: 'build-asan',
    libraries: ['libasan.so', 'libubsan.so'],
    env: (path) => ({
      // What node keeps until it ends is no leak, and a size that is too large is to be an error, as it is without a sanitizer.
      ASAN_OPTIONS: `detect_leaks=0:allocator_may_return_null=1:log_path=${path}`,
      UBSAN_OPTIONS: `print_stacktrace=1:halt_on_error=1:log_path=${path}`,
    }),
  },
  thread: {
    folder: 'build-tsan',
    libraries: ['libtsan.so'],
    env: (path) => ({
      // Node is built without, so what it does to memory says nothing; locks are seen, whoever takes them.
      TSAN_OPTIONS: `ignore_noninstrumented_modules=1:report_signal_unsafe=0:log_path=${path}`,
    }),
  },
}

/** Compiled tests, below dist/test/unit. */
const unitTests = [
  'native/arguments.test.js',
  'tensor/threads.test.js',
  'data/pack.test.js',
  'distributed/strangers.test.js',
  'distributed/collectives.test.js',
  'engine/thread.test.js',
]

const { values } = parseArgs({ options: { with: { type: 'string' }, time: { type: 'string', default: '60' } } })
const chosen = values.with === undefined ? Object.keys(sanitizers) : [values.with]
for (const name of chosen)
  if (!Object.hasOwn(sanitizers, name))
    throw new StarError('ERR_ARGUMENT', `--with is ${name}, expected ${Object.keys(sanitizers).join(' or ')}`)

const libraryPath = (name: string): string =>
  execFileSync('gcc', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim()

/** Runs a program to its end. */
function ended(
  command: string,
  args: readonly string[],
  options: { cwd: string; env: NodeJS.ProcessEnv },
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output = (output + text).slice(-20_000)
      })
    child.on('error', reject).on('close', (code) => resolve({ code, output }))
  })
}

/** Number of things that went wrong. */
async function run(name: string): Promise<number> {
  const { folder, libraries, env: environment } = sanitizers[name]
  execFileSync(join(packageRoot, 'scripts', 'build-sanitized'), [name], { stdio: ['ignore', 'ignore', 'inherit'] })
  const scratch = mkdtempSync(join(tmpdir(), `star-sanitize-${name}-`))
  const clone = join(scratch, 'clone')
  const reports = join(scratch, 'reports')
  mkdirSync(reports)
  makeAddonClone({ folder: clone, addon: join(packageRoot, folder, 'star.node'), packages: join(scratch, 'none') })
  // Tests of groups run on the stand-in of a GPU too.
  symlinkSync(join(packageRoot, 'build', 'star_simt.so'), join(clone, 'build', 'star_simt.so'))
  const env = {
    ...process.env,
    OMP_WAIT_POLICY: 'passive',
    TAP_TIMEOUT: '1800',
    ...environment(join(reports, 'report')),
  }
  const inNode = { ...env, LD_PRELOAD: libraries.map(libraryPath).join(':') }
  let wrong = 0
  const attempt = async (what: string, command: string, args: readonly string[], variables: NodeJS.ProcessEnv) => {
    const { code, output } = await ended(command, args, { cwd: clone, env: variables })
    const told = /\[ {2}PASSED {2}\] \d+ tests|# \{ total.*\}|^\d+ inputs, .*$/m.exec(output)?.[0] ?? ''
    console.log(`${name}: ${what}: ${code === 0 ? 'passed' : `ended with ${code}`} ${told}`)
    if (code === 0) return
    wrong++
    console.log(output)
  }
  await attempt('native tests', join(packageRoot, folder, 'star_native_tests_cpu'), [], env)
  for (const file of unitTests) await attempt(file, process.execPath, [join('dist', 'test', 'unit', file)], inNode)
  const attack = [join('dist', 'test', 'fuzz', 'main.js'), '--target', 'addon', '--time', values.time]
  await attempt('attack on the addon', process.execPath, attack, inNode)
  for (const file of readdirSync(reports)) {
    wrong++
    console.log(readFileSync(join(reports, file), 'utf8'))
  }
  console.log(`${name}: ${wrong} findings`)
  rmSync(scratch, { recursive: true })
  return wrong
}

let wrong = 0
for (const name of chosen) wrong += await run(name)
process.exitCode = wrong > 0 ? 1 : 0
