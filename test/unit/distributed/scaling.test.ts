/** The scaling model: its formulas on cases computed by hand, its counts against the models', and the tables of the docs. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { starConfig } from '../../../lib/models/star/index.js'
import { transformerCounts } from '../../../lib/plan/index.js'
import { allReduceMs, exposed, type Network, replay } from '../../../scripts/scaling/exchange.js'
import { after, foretold, measurements, readyDifference } from '../../../scripts/scaling/measured.js'
import { partsOf, stepTimes } from '../../../scripts/scaling/step.js'
import { allRows, fast, h100, scalingPage, scalingText } from '../../../scripts/scaling.js'

const perByte = (bytes: number): number => bytes

t.test('buckets go one after the other, each when it is ready', async (t) => {
  const buckets = [
    { bytes: 3, readyMs: 1 },
    { bytes: 2, readyMs: 2 },
    { bytes: 4, readyMs: 10 },
  ]
  t.same(replay(buckets, perByte), [4, 6, 14])
  t.same(
    replay(buckets, (bytes) => 3 * bytes),
    [10, 16, 28],
  )
  // Backward ends with the last bucket, at 10: the idle link leaves that bucket alone, a busy one what it has not done yet.
  t.equal(exposed(buckets, 10, perByte), 4)
  t.equal(
    exposed(buckets, 10, (bytes) => 3 * bytes),
    18,
  )
})

t.test('the formula and the replay agree where buckets come evenly', async (t) => {
  const buckets = Array.from({ length: 40 }, (_, i) => ({ bytes: 1, readyMs: 10 * (i + 1) }))
  for (const cost of [0.1, 5, 10, 11, 20, 100]) {
    const end = replay(buckets, () => cost).at(-1)! - 400
    t.ok(Math.abs(end - exposed(buckets, 400, () => cost)) < 1e-9, `cost ${cost}: ${end}`)
  }
  // A link that waits in the middle and is late afterwards: the formula is below, never above.
  const late = [
    { bytes: 1, readyMs: 0 },
    { bytes: 10, readyMs: 90 },
    { bytes: 10, readyMs: 100 },
  ]
  t.equal(replay(late, perByte).at(-1)! - 100, 10)
  t.ok(exposed(late, 100, perByte) <= 10)
})

t.test('an all-reduce within a machine and between machines', async (t) => {
  const network: Network = {
    name: 'round',
    perMachine: 4,
    inside: 1e9,
    between: 1e8,
    latencyInside: 1e-3,
    latencyBetween: 1e-2,
  }
  // 2·3/4·8 MB at 1 GB/s are 12 ms, and 6 ms of messages.
  t.ok(Math.abs(allReduceMs(8e6, 4, network) - 18) < 1e-9)
  // Besides, 2·1/2·2 MB at 100 MB/s are 20 ms, and 20 ms of messages.
  t.ok(Math.abs(allReduceMs(8e6, 8, network) - 58) < 1e-9)
  t.equal(allReduceMs(8e6, 1, network), 0)
})

const config = starConfig({ depth: 3, width: 128, heads: 2, patchNums: [1, 2, 4], textWidth: 64 })

t.test('counts are those of the model', async (t) => {
  const { body, head } = transformerCounts(config)
  t.equal(
    partsOf(config, 21).reduce((sum, { count }) => sum + count, 0),
    body + head,
  )
  const [{ flop }] = partsOf(config, 21).filter(({ name }) => name === 'blocks.0.attn.mat_qkv')
  // 21 tokens by 128·384 weights, and 1·1 + 4·5 + 16·21 pairs.
  t.equal(flop, 2 * 21 * 128 * 384 + 4 * 128 * (1 + 20 + 336))
  const [{ flop: cut }] = partsOf(config, 10).filter(({ name }) => name === 'blocks.0.attn.mat_qkv')
  t.equal(cut, 2 * 10 * 128 * 384 + 4 * 128 * (1 + 20 + 50))
})

t.test('a step is computing and what the exchange leaves', async (t) => {
  const input = { config, images: 4, tokens: 21, recompute: false, gpus: 16, card: h100, network: fast }
  const plain = stepTimes(input)
  t.ok(Math.abs(plain.backwardMs - 2 * plain.forwardMs) < 1e-12)
  t.equal(plain.stepMs, plain.forwardMs + plain.backwardMs + plain.optimizerMs + plain.exposedMs)
  t.ok(plain.exposedMs <= plain.exchangeMs + 1e-12)
  t.ok(plain.efficiency < 1 && plain.efficiency > 0)
  const again = stepTimes({ ...input, recompute: true })
  t.ok(again.backwardMs > plain.backwardMs && again.backwardMs < 1.5 * plain.backwardMs)
  t.equal(stepTimes({ ...input, gpus: 1 }).exposedMs, 0)
})

for (const measured of measurements()) {
  const { rate, buckets, backwardMs, exchangeMs, exposedMs } = measured
  t.test(`what was measured on a link of ${rate}`, async (t) => {
    const model = foretold(measured)
    t.same(
      model.buckets.map(({ bytes }) => bytes),
      buckets.map(({ bytes }) => bytes),
      'the sizes of all buckets',
    )
    const late = readyDifference(measured)
    t.ok(late < 0.05, `buckets are full within ${late} of backward of the time foretold`)
    const { replayMs, formulaMs } = after(measured, exchangeMs)
    t.ok(Math.abs(replayMs - exposedMs) < 0.05 * exchangeMs, `replayed ${replayMs} ms, measured ${exposedMs} ms`)
    t.ok(formulaMs <= replayMs + 1e-9, 'a replay finds what the formula leaves out, never less')
    t.ok(replayMs - formulaMs < 0.05 * backwardMs, `formula ${formulaMs} ms, replayed ${replayMs} ms`)
  })
}

t.test('a replay of every row of the tables finds what the formula says', async (t) => {
  for (const { name, strong, weak } of allRows())
    for (const { gpus, near, far } of [...strong, ...weak])
      for (const { exposedMs, replayedMs, stepMs } of [near, far]) {
        t.ok(replayedMs >= exposedMs - 1e-9, `${name}, ${gpus} GPUs: ${replayedMs} and ${exposedMs} ms`)
        t.ok(
          replayedMs - exposedMs < 0.02 * stepMs,
          `${name}, ${gpus} GPUs: ${replayedMs} and ${exposedMs} of ${stepMs} ms`,
        )
      }
})

t.test('the tables of docs/distributed.md are what the model gives', async (t) => {
  t.equal(readFileSync(scalingPage, 'utf8'), scalingText(), 'run node dist/scripts/scaling.js')
})
