/**
 * A long run of everything that programs and servers do with models, at random: npm run soak -- [--minutes 15] [--seed N]
 *
 * Models are loaded, drawn with, aborted in the middle, disposed at work; a server draws for clients of which some leave. Every few
 * seconds all is brought to rest and measured: memory, tensors, threads, handles, temporary files. Ends with 1 where one of them has
 * grown between the second and the last fifth of the run. (In the first, caches and the heap find their size.)
 */
import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Star, StarError } from '../../lib/index.js'
import { native } from '../../lib/native/index.js'
import { type DrawServer, serveModels } from '../../lib/server/index.js'
import { Random } from '../../lib/tensor/index.js'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '15' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
    model: { type: 'string', default: 'emoji-64' },
  },
})

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const random = new Random(Number(values.seed))
const chance = (p: number): boolean => random.next() < p
const pick = <T>(list: readonly T[]): T => list[random.integer(list.length)]
const prompts = ['a red apple', 'a dog', 'pizza', 'a rocket', 'a smiling face', 'a fish', 'a house', 'the sun']

/** What happened how often. */
const counts = new Map<string, number>()
const count = (what: string): void => void counts.set(what, (counts.get(what) ?? 0) + 1)

/** Errors that were asked for; others end the run. */
function expected(error: unknown, codes: readonly string[]): void {
  if (!(error instanceof StarError) || !codes.includes(error.code)) throw error
  count(error.code)
}

class Nuisance extends Error {}

/** Some calls on one model at once: whole, aborted, left early, with a callback that throws. */
async function call(star: Star): Promise<void> {
  const controller = new AbortController()
  const scales: number[] = []
  const options = { count: 1 + random.integer(6), seed: random.integer(1e6), signal: controller.signal }
  const prompt = pick(prompts)
  const wayward = chance(0.1)
  if (chance(0.3)) void delay(200 * random.next()).then(() => controller.abort())
  try {
    if (chance(0.2)) {
      for await (const _ of star.stream(prompt, options)) break
      count('left early')
    } else {
      const onScale = async (event: { scaleIndex: number; preview(): Promise<unknown> }): Promise<void> => {
        scales.push(event.scaleIndex)
        if (chance(0.3)) await event.preview()
        if (wayward && event.scaleIndex === 2) throw new Nuisance('thrown by the callback')
      }
      const { images } = await star.generate(prompt, {
        ...options,
        onScale: chance(0.5) || wayward ? onScale : undefined,
      })
      await Promise.all(images.map((image) => image.toBuffer(pick(['png', 'jpeg', 'webp'] as const))))
      count('drawn')
    }
  } catch (error) {
    if (error instanceof Nuisance) count('callback threw')
    else expected(error, ['ERR_ABORTED'])
  }
}

async function useModel(): Promise<void> {
  const star = await Star.load(values.model, { device: 'cpu', thread: chance(0.3) ? 'main' : undefined })
  count('loaded')
  const calls = Array.from({ length: 1 + random.integer(8) }, () => call(star))
  if (chance(0.3)) await delay(100 * random.next())
  else await Promise.all(calls)
  await star.dispose()
  await Promise.all(calls)
}

async function request(address: string): Promise<void> {
  const controller = new AbortController()
  if (chance(0.3)) void delay(300 * random.next()).then(() => controller.abort())
  const body = {
    prompt: chance(0.05) ? '' : pick(prompts),
    n: 1 + random.integer(3),
    stream: chance(0.3),
    partial_images: 2,
  }
  try {
    const answer = await fetch(new URL('/v1/images/generations', address), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: controller.signal,
    })
    await answer.arrayBuffer()
    count(`answered ${answer.status}`)
    if (![200, 400, 429].includes(answer.status)) throw new Error(`the server answered ${answer.status}`)
  } catch (error) {
    if (!controller.signal.aborted) throw error
    count('client left')
  }
}

async function useServer(server: DrawServer): Promise<void> {
  await Promise.all(Array.from({ length: 1 + random.integer(24) }, () => request(server.address)))
}

interface Sample {
  minute: number
  /** Bytes. */
  rss: number
  heap: number
  tensors: number
  threads: number
  handles: number
  files: number
}

async function measure(minute: number): Promise<Sample> {
  // Sockets and threads that ended need some turns.
  for (let i = 0; i < 10; i++) await delay(20)
  collectGarbage()
  await delay(50)
  native.trimMemory('cpu')
  const { rss, heapUsed } = process.memoryUsage()
  return {
    minute,
    rss,
    heap: heapUsed,
    tensors: native.memory('cpu').liveBytes,
    threads: readdirSync('/proc/self/task').length,
    handles: readdirSync('/proc/self/fd').length,
    files: readdirSync(tmpdir()).filter((name) => name.startsWith('star-')).length,
  }
}

const middle = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1]

/**
 * What a figure may be above what it was: memory by noise of allocators and heap, threads and handles by those that are ending while
 * they are counted, the others not at all.
 */
const allowance: Readonly<Record<Exclude<keyof Sample, 'minute'>, number>> = {
  rss: 24 << 20,
  heap: 6 << 20,
  tensors: 0,
  threads: 3,
  handles: 8,
  files: 0,
}

console.log(`seed ${values.seed}, ${values.minutes} minutes`)
const server = await serveModels({
  models: [values.model],
  host: '127.0.0.1',
  port: 0,
  queue: 16,
  hold: 100,
  load: { device: 'cpu' },
})
await server.ready
const samples: Sample[] = []
const begin = performance.now()
const minutes = (): number => (performance.now() - begin) / 60_000
const between = (Number(values.minutes) * 60_000) / 60
for (let next = begin; minutes() < Number(values.minutes); ) {
  await (chance(0.5) ? useModel() : useServer(server))
  if (performance.now() < next) continue
  next = performance.now() + between
  samples.push(await measure(minutes()))
}
await server.close()

const fifth = Math.floor(samples.length / 5)
if (fifth === 0) throw new Error('the run was too short to compare anything')
console.log([...counts].map(([what, n]) => `${n} × ${what}`).join(', '))
for (const [key, most] of Object.entries(allowance) as [Exclude<keyof Sample, 'minute'>, number][]) {
  const [early, late] = [samples.slice(fifth, 2 * fifth), samples.slice(-fifth)].map((part) =>
    middle(part.map((one) => one[key])),
  )
  const curve = samples.filter((_, i) => i % Math.ceil(samples.length / 12) === 0).map((one) => one[key])
  const shown = (n: number): string => (n >= 1 << 20 ? `${(n / 2 ** 20).toFixed(0)} MiB` : String(n))
  const grown = late > early + most
  console.log(`${key}: ${shown(early)} → ${shown(late)}${grown ? ', GROWN' : ''}   (${curve.map(shown).join(', ')})`)
  if (grown) process.exitCode = 1
}
