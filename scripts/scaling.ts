/** Writes the tables of docs/distributed.md on how the published runs would scale: on paper, by scripts/scaling/. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { tokenCount } from '../lib/models/star/index.js'
import { writeFileAtomic } from '../lib/native/files.js'
import { packageRoot } from '../lib/native/index.js'
import type { TransformerRunConfig } from '../lib/train/index.js'
import { readRunConfig } from '../lib/train/run-config.js'
import { modelOfRun } from '../lib/train/run-plan.js'
import { withTables } from './config-tables.js'
import type { Network } from './scaling/exchange.js'
import { type Card, stepTimes } from './scaling/step.js'

export const scalingPage = join(packageRoot, 'docs', 'distributed.md')

export const h100: Card = { name: 'H100 SXM', peak: 989e12, utilisation: 0.4, memory: 0.7 * 3.35e12 }
const inside = { perMachine: 8, inside: 360e9, latencyInside: 3e-6, latencyBetween: 10e-6 }
export const fast: Network = { ...inside, name: '400 Gbit/s a GPU', between: 0.9 * 50e9 }
export const slow: Network = { ...inside, name: '100 Gbit/s a machine', between: (0.9 * 12.5e9) / 8 }

export const gpuCounts = [8, 16, 32, 64, 128, 256, 512, 1024]
/** Pictures a GPU for the tables in which the batch grows with the number of GPUs. */
const runs = [
  { name: 'd16_256', file: 'config_d16_256.json', images: 32, recompute: false },
  { name: 'd30_512', file: 'config_d30_512.json', images: 8, recompute: true },
  { name: 'd30_1024', file: 'config_d30_1024.json', images: 1, recompute: true },
]
/** Below this share of the time of one GPU a run is said to bend. */
const bend = 0.9

const milliseconds = (value: number): string => (value < 10 ? value.toFixed(1) : value.toFixed(0))
const percent = (value: number): string => `${(100 * value).toFixed(0)} %`

interface Published {
  name: string
  recompute: boolean
  images: number
  run: TransformerRunConfig
}

const published = (): Published[] =>
  runs.map(({ file, ...rest }) => ({
    ...rest,
    run: readRunConfig(join(packageRoot, 'configs', file)).config as TransformerRunConfig,
  }))

/** One row a number of GPUs; `imagesOf` gives the pictures of each, or null where they cannot share the batch. */
function table({ name, run, recompute }: Published, imagesOf: (gpus: number) => number | null): string {
  const { config } = modelOfRun(run)
  const tokens = Math.min(tokenCount(config.patchNums), run.tokenDrop?.keep ?? Number.POSITIVE_INFINITY)
  const bends = new Map<string, number>()
  const rows = gpuCounts.flatMap((gpus) => {
    const images = imagesOf(gpus)
    if (images === null) return []
    const [near, far] = [fast, slow].map((network) => {
      const times = stepTimes({ config, images, tokens, recompute, gpus, card: h100, network })
      if (times.efficiency < bend && !bends.has(network.name)) bends.set(network.name, gpus)
      return times
    })
    const { forwardMs, backwardMs, optimizerMs } = near
    const cells = [gpus, images, milliseconds(forwardMs + backwardMs + optimizerMs)]
    for (const { exchangeMs, exposedMs, efficiency, shardedEfficiency } of [near, far])
      cells.push(
        `${milliseconds(exchangeMs)}, ${milliseconds(exposedMs)}`,
        percent(efficiency),
        percent(shardedEfficiency),
      )
    return [`| ${cells.join(' | ')} |`]
  })
  const where = [fast, slow].map((network) => {
    const at = bends.get(network.name)
    return `${network.name}: ${at === undefined ? `at least ${percent(bend)} all along` : `below ${percent(bend)} from ${at} GPUs on`}`
  })
  return [
    `**${name}** (${where.join('; ')})`,
    '',
    `| GPUs | pictures a GPU | computing, ms | exchange, left of it, ms: ${fast.name} | efficiency | sharded | ${slow.name} | efficiency | sharded |`,
    `|${'---|'.repeat(9)}`,
    ...rows,
  ].join('\n')
}

/** The page as it stands, with today's tables. */
export function scalingText(): string {
  const all = published()
  const strong = all.map((one) => {
    const { batchSize } = one.run.optimizer
    return table(one, (gpus) => (batchSize % gpus === 0 ? batchSize / gpus : null))
  })
  const weak = all.map((one) => table(one, () => one.images))
  return withTables(readFileSync(scalingPage, 'utf8'), {
    'published batch': strong.join('\n\n'),
    'batch grows': weak.join('\n\n'),
  })
}

if (process.argv[1] === import.meta.filename) writeFileAtomic(scalingPage, Buffer.from(scalingText()))
