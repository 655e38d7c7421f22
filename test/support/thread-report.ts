/**
 * What the threads test runs in processes of their own: runs ops that several threads share and prints a JSON object with the
 * threads of the process before and after, and, when asked, the time that helpers ran while nearly nothing was to be done.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'

export interface ThreadReport {
  /** Threads of the process before the addon was loaded, and after ops of every kind. */
  before: number
  after: number
  /** Those among them that are ours. */
  helpers: number
  /** What the addon says. */
  count: number
  /** Our threads while a worker thread runs ops as well, and after it has ended. */
  helpersWithWorker: number
  helpersAfterWorker: number
  /** Milliseconds that the helpers ran during `pausedMs` of short ops with pauses between them. */
  pausedMs: number
  helperMs: number
  /** Variables that a child process sees and did not see before. */
  added: string[]
}

const tasks = '/proc/self/task'
const threads = (): string[] => readdirSync(tasks)
const helpers = (): string[] =>
  threads().filter(
    (id) => existsSync(`${tasks}/${id}/comm`) && readFileSync(`${tasks}/${id}/comm`, 'utf8').trim() === 'star-helper',
  )
const runtimeMs = (id: string): number => Number(readFileSync(`${tasks}/${id}/schedstat`, 'utf8').split(' ')[0]) / 1e6
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const variables = (): string[] => {
  const { stdout } = spawnSync('env', { encoding: 'utf8' })
  return stdout.split('\n')
}

async function runOps(): Promise<void> {
  const { add, backward, conv2d, matmul, mean, Random, scope } = await import('../../lib/tensor/index.js')
  const random = new Random(1)
  scope(() => {
    const weight = random.normal([32, 16, 3, 3])
    weight.requiresGrad = true
    const image = conv2d(random.normal([4, 64, 64, 16]), weight, null, { padding: 1 })
    const product = matmul(random.normal([512, 512]), random.normal([512, 512]))
    backward(add(mean(image), mean(product)))
    weight.grad?.dispose()
  })
}

async function report(): Promise<ThreadReport> {
  const environment = new Set(variables())
  const before = threads().length
  const { native } = await import('../../lib/native/index.js')
  await runOps()
  const after = threads().length
  const own = helpers()

  const worker = new Worker(new URL(import.meta.url))
  const ended = new Promise((resolve) => worker.once('exit', resolve))
  const helpersWithWorker = await new Promise<number>((resolve, reject) => {
    worker.once('message', () => resolve(helpers().length))
    worker.once('error', reject)
  })
  worker.postMessage('end')
  await ended

  const { affine, Random, scope } = await import('../../lib/tensor/index.js')
  const x = new Random(1).normal([1 << 16])
  const [begin, ran] = [performance.now(), own.map(runtimeMs)]
  for (let i = 0; i < 100; i++) {
    scope(() => affine(x, null, 2, 0, 0))
    await pause(5)
  }
  const pausedMs = performance.now() - begin
  const helperMs = own.reduce((sum, id, i) => sum + runtimeMs(id) - ran[i], 0)
  return {
    ...{ before, after, helpers: own.length, count: native.threadCount() },
    ...{ helpersWithWorker, helpersAfterWorker: helpers().length },
    ...{ pausedMs, helperMs, added: variables().filter((line) => !environment.has(line)) },
  }
}

if (isMainThread) console.log(JSON.stringify(await report()))
else {
  await runOps()
  parentPort!.once('message', () => parentPort!.close())
  parentPort!.postMessage('ready')
}
