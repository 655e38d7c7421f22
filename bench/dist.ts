/**
 * `npm run bench:dist [-- --rate RATE --rounds N --depth N --width N --json FILE]`: how much of the exchange of gradients is hidden
 * behind backward. Two processes on two hosts, which are network namespaces of this machine (needs root) with a link of 1 Gbit/s
 * between them, train a transformer at 256², one picture and one thread each. `--json` also writes the figures to a file, as
 * they lie in bench/measured, where the model of docs/distributed.md is compared with them.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { tokenCount } from '../lib/models/star/index.js'
import { StarError } from '../lib/native/index.js'
import { runRanks } from '../test/support/ranks.js'
import { TwoHosts, twoHostsMissing } from '../test/support/two-hosts.js'
import type { DistInput } from './dist-rank.js'
import { describe, type Measured, overlapOf, type Round } from './overlap.js'

function settings(): { rounds: number; depth: number; width: number; rate: string; json?: string } {
  const { values } = parseArgs({
    options: {
      rate: { type: 'string', default: '1gbit' },
      rounds: { type: 'string', default: '5' },
      depth: { type: 'string', default: '8' },
      width: { type: 'string', default: '768' },
      json: { type: 'string' },
    },
  })
  const [rounds, depth, width] = [Number(values.rounds), Number(values.depth), Number(values.width)]
  const natural = (value: number): boolean => Number.isInteger(value) && value >= 1
  if (!natural(rounds) || !natural(depth) || !natural(width / 64))
    throw new StarError(
      'ERR_ARGUMENT',
      `bench:dist: --rounds ${values.rounds}, --depth ${values.depth}, --width ${values.width}; expected whole numbers of at ` +
        'least 1, the width a multiple of 64',
    )
  return { rounds, depth, width, rate: values.rate, json: values.json }
}

async function main(): Promise<void> {
  const { rounds, depth, width, rate, json } = settings()
  const missing = twoHostsMissing()
  if (missing) throw new StarError('ERR_ARGUMENT', `bench:dist: ${missing}`)
  const ends: (() => unknown)[] = []
  const hosts = new TwoHosts()
  // Namespaces outlive whoever made them.
  process.once('exit', () => hosts.remove())
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
  try {
    hosts.slow(rate)
    const patchNums = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]
    const sizes = { vocabSize: 4096, latentChannels: 32, textWidth: 384 }
    const model = { depth, width, heads: width / 64, patchNums, ...sizes, dropPath: 0 }
    const input: DistInput = { model, rounds }
    const results = await runRanks<Round[]>(
      { teardown: (end) => ends.push(end) },
      new URL('dist-rank.js', import.meta.url),
      'measure',
      {
        ...{ size: 2, input, seconds: 1800 },
        wrapper: (rank) => hosts.on(rank === 0 ? 0 : 1),
        env: () => ({ MASTER_ADDR: hosts.addresses[0] }),
      },
    )
    const overlap = overlapOf(results.flat())
    console.log(
      `depth ${depth}, width ${width}, ${tokenCount(patchNums)} tokens; two processes of one thread, a link of ${rate}\n`,
    )
    console.log(describe(overlap, 2).join('\n'))
    const measured: Measured = { model, rate, ...overlap }
    if (json) writeFileSync(json, `${JSON.stringify(measured, null, 2)}\n`)
  } finally {
    for (const end of ends) end()
  }
}

try {
  await main()
} catch (error) {
  console.error(error instanceof StarError ? `error: ${error.message}` : error)
  process.exitCode = 1
}
