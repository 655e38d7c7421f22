/**
 * How free the event loop of a server stays while it draws: ten generations at once behind node:http, and a ping every 10 ms
 * from another process.
 *
 *     npm run bench:event-loop -- [--model emoji-64] [--calls 10] [--count 4] [--thread worker]
 */
import { fork } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type LoadOptions, Star } from '../lib/index.js'

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'emoji-64' },
    calls: { type: 'string', default: '10' },
    count: { type: 'string', default: '4' },
    thread: { type: 'string', default: 'worker' },
    serve: { type: 'boolean', default: false },
  },
})

/** The server: `/ping` answers at once, `/draw/PROMPT` with a WebP and previews on the way, `/delay` with the loop's delays. */
async function serve(): Promise<void> {
  await using star = await Star.load(values.model, { device: 'cpu', thread: values.thread as LoadOptions['thread'] })
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const server = createServer(async (request, response) => {
    const [, what, prompt] = request.url!.split('/')
    if (what === 'ping') response.end('pong')
    else if (what === 'delay') response.end(JSON.stringify({ max: delay.max / 1e6, p99: delay.percentile(99) / 1e6 }))
    else {
      const { images } = await star.generate(decodeURIComponent(prompt), {
        count: Number(values.count),
        onScale: async ({ preview }) => void (await preview()),
      })
      response.end(await images[0].toBuffer('webp'))
    }
  })
  server.listen(0, '127.0.0.1', () => process.send!((server.address() as AddressInfo).port))
  await new Promise((resolve) => process.once('disconnect', resolve))
  server.close()
}

async function measure(): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), [...process.argv.slice(2), '--serve'])
  const port = await new Promise<number>((resolve) => child.once('message', (message) => resolve(message as number)))
  const get = async (path: string): Promise<Buffer> =>
    Buffer.from(await (await fetch(`http://127.0.0.1:${port}/${path}`)).arrayBuffer())
  for (let i = 0; i < 20; i++) await get('ping')
  const pings: number[] = []
  let drawing = true
  const pinging = (async () => {
    while (drawing) {
      const begun = performance.now()
      await get('ping')
      pings.push(performance.now() - begun)
      await setTimeout(10)
    }
  })()
  const begun = performance.now()
  const pictures = await Promise.all(
    Array.from({ length: Number(values.calls) }, (_, i) => get(`draw/a red apple number ${i}`)),
  )
  const seconds = (performance.now() - begun) / 1000
  drawing = false
  await pinging
  const loop = JSON.parse((await get('delay')).toString())
  child.disconnect()
  pings.sort((a, b) => a - b)
  const at = (share: number): string => pings[Math.min(pings.length - 1, Math.floor(share * pings.length))].toFixed(1)
  console.log(
    `${pictures.length} calls of ${values.count} pictures in ${seconds.toFixed(1)} s, thread: ${values.thread}. ` +
      `${pings.length} pings: median ${at(0.5)} ms, 99 % under ${at(0.99)} ms, longest ${at(1)} ms; ` +
      `the server's event loop: 99 % under ${loop.p99.toFixed(1)} ms, longest ${loop.max.toFixed(1)} ms`,
  )
}

await (values.serve ? serve() : measure())
