/**
 * `npm run bench:dist [-- --rate RATE --rounds N --depth N --width N --json FILE]`: how much of the exchange of gradients is hidden
 * behind backward. Two processes on two hosts, which are network namespaces of this machine (needs root) with a link of 1 Gbit/s
 * between them, train a transformer at 256², one picture and one thread each. `--json` also writes the figures to a file, among them
 * the buckets that scripts/scaling.ts replays.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { StarError } from '../lib/native/index.js'
import { runRanks } from '../test/support/ranks.js'
import { TwoHosts, twoHostsMissing } from '../test/support/two-hosts.js'
import { describe, overlapOf, type Round } from './overlap.js'

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
if (!(rounds >= 1) || !(depth >= 1) || !(width >= 64) || width % 64 !== 0)
  throw new StarError(
    'ERR_ARGUMENT',
    `bench:dist: rounds ${values.rounds}, depth ${values.depth}, width ${values.width}; expected 1 or more, 1 or more, a multiple of 64`,
  )

const missing = twoHostsMissing()
if (missing) throw new StarError('ERR_ARGUMENT', `bench:dist: ${missing}`)
const ends: (() => unknown)[] = []
const hosts = new TwoHosts()
try {
  hosts.slow(values.rate)
  const model = { depth, width, patchNums: [1, 2, 3, 4, 5, 6, 8, 10, 13, 16] }
  const results = await runRanks<Round[]>(
    { teardown: (end) => ends.push(end) },
    new URL('dist-rank.js', import.meta.url),
    'measure',
    {
      size: 2,
      input: { model, rounds },
      wrapper: (rank) => hosts.on(rank === 0 ? 0 : 1),
      env: () => ({ MASTER_ADDR: hosts.addresses[0] }),
      seconds: 1800,
    },
  )
  const overlap = overlapOf(results.flat())
  console.log(`depth ${depth}, width ${width}, 680 tokens; two processes of one thread, a link of ${values.rate}\n`)
  console.log(describe(overlap, 2).join('\n'))
  if (values.json)
    writeFileSync(values.json, `${JSON.stringify({ depth, width, rate: values.rate, ...overlap }, null, 2)}\n`)
} finally {
  for (const end of ends) end()
  hosts.remove()
}
