/**
 * `star serve` under load, against `star.generate` called directly: pictures a second of both, whether each answer is a picture or
 * a refusal, whether pictures are those of their seeds, memory, and how free the server's event loop stays.
 *
 *     npm run bench:serve -- [--model emoji-64] [--connections 200] [--seconds 300] [--queue 64]
 */
import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import autocannon from 'autocannon'
import { Star } from '../lib/index.js'
import { serveModels } from '../lib/server/index.js'

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'emoji-64' },
    connections: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '300' },
    queue: { type: 'string', default: '64' },
    serve: { type: 'boolean', default: false },
  },
})

const prompt = 'a red apple'
const seeds = 200
/** Pictures that the direct figure is measured with. */
const directPictures = 400

interface Figures {
  address: string
  /** Pictures a second of `star.generate`, before the load. */
  direct: number
  /** SHA-256 of the file of each seed. */
  hashes: string[]
}
interface Report {
  rss: number
  delay: { p99: number; max: number }
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** Pictures a second of `star.generate` alone. */
async function measureDirect(star: Star): Promise<number> {
  const began = performance.now()
  await star.generate(prompt, { count: directPictures, seed: 0 })
  return (directPictures * 1000) / (performance.now() - began)
}

/**
 * The server's process: measures `generate` alone, serves, reports on each message, and measures `generate` again when it is told to
 * end: a shared machine may be faster or slower by then.
 */
async function serve(): Promise<void> {
  const star = await Star.load(values.model, { device: 'cpu' })
  const { images } = await star.generate(prompt, { count: seeds, seed: 0 })
  const hashes = await Promise.all(images.map(async (image) => sha256(await image.toBuffer())))
  const direct = await measureDirect(star)
  await star.dispose()
  const server = await serveModels({
    models: [values.model],
    host: '127.0.0.1',
    port: 0,
    queue: Number(values.queue),
    load: { device: 'cpu' },
  })
  await server.ready
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const ended = new Promise<void>((resolve) => {
    process.on('message', (message) => {
      if (message === 'end') resolve()
    })
  })
  process.on('message', (message) => {
    if (message !== 'report') return
    process.send!({
      rss: process.memoryUsage().rss,
      delay: { p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 },
    } satisfies Report)
  })
  process.send!({ address: server.address, direct, hashes } satisfies Figures)
  await ended
  await server.close()
  await using again = await Star.load(values.model, { device: 'cpu' })
  process.send!(await measureDirect(again))
  process.disconnect()
}

async function measure(): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), [...process.argv.slice(2), '--serve'])
  const message = <T>(): Promise<T> => new Promise((resolve) => child.once('message', (value) => resolve(value as T)))
  const { address, direct, hashes } = await message<Figures>()
  const report = (): Promise<Report> => {
    const answer = message<Report>()
    child.send('report')
    return answer
  }
  const seconds = Number(values.seconds)
  const statuses = new Map<number, number>()
  let [wrong, next] = [0, 0]
  const memory: number[] = []
  const timer = setInterval(async () => memory.push((await report()).rss), Math.max(1000, (seconds * 1000) / 20))
  const result = await autocannon({
    url: address,
    connections: Number(values.connections),
    duration: seconds,
    timeout: 120,
    requests: [
      {
        method: 'POST',
        path: '/v1/images/generations',
        headers: { 'content-type': 'application/json' },
        setupRequest: (request, context: { seed?: number }) => {
          const seed = next++ % seeds
          context.seed = seed
          return { ...request, body: JSON.stringify({ prompt, seed }) }
        },
        onResponse: (status, body, context: { seed?: number }) => {
          statuses.set(status, (statuses.get(status) ?? 0) + 1)
          if (status !== 200) return
          const { data } = JSON.parse(body) as { data: { b64_json: string; seed: number }[] }
          if (data[0].seed !== context.seed || sha256(Buffer.from(data[0].b64_json, 'base64')) !== hashes[data[0].seed])
            wrong++
        },
      },
    ],
  })
  clearInterval(timer)
  const { delay } = await report()
  const after = message<number>()
  child.send('end')
  const alone = [direct, await after]
  const pictures = (statuses.get(200) ?? 0) / result.duration
  const mib = (bytes: number | undefined): string => `${Math.round((bytes ?? 0) / 2 ** 20)} MiB`
  const share = (pictures / ((alone[0] + alone[1]) / 2)) * 100
  console.log(
    [
      `${values.connections} connections for ${Math.round(result.duration)} s, queue ${values.queue}: ${[...statuses].map(([status, count]) => `${count} × ${status}`).join(', ')}, ` +
        `${result.errors} errors, ${result.timeouts} timeouts, ${wrong} pictures of another seed`,
      `${pictures.toFixed(1)} pictures a second, ${share.toFixed(0)} % of generate's ${alone.map((rate) => rate.toFixed(1)).join(' before and ')} after; latency of answers: median ${result.latency.p50} ms, 99 % under ${result.latency.p99} ms`,
      `the server's event loop: 99 % under ${delay.p99.toFixed(1)} ms, longest ${delay.max.toFixed(1)} ms; memory ${memory.map(mib).join(', ')}`,
    ].join('\n'),
  )
}

await (values.serve ? serve() : measure())
