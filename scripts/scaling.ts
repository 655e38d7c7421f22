/**
 * Writes the tables of docs/distributed.md: how the published runs would scale, on paper, by scripts/scaling/; and what
 * `npm run bench:dist` measured, beside the model and a replay of it.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { tokenCount } from '../lib/models/star/index.js'
import { writeFileAtomic } from '../lib/native/files.js'
import { packageRoot } from '../lib/native/index.js'
import { readRunConfig } from '../lib/train/config/run-config.js'
import type { TransformerRunConfig } from '../lib/train/index.js'
import { modelOfRun } from '../lib/train/kinds/transformer/plan.js'
import { withTables } from './config-tables.js'
import type { Network } from './scaling/exchange.js'
import { measuredTable, readySentence, replayTable } from './scaling/measured.js'
import { type Card, type StepTimes, stepTimes } from './scaling/step.js'

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

/** A run on so many GPUs, over both networks. */
interface Row {
  gpus: number
  images: number
  near: StepTimes
  far: StepTimes
}

/** `imagesOf` gives the pictures of a GPU, or null where they cannot share the batch. */
function rowsOf({ run, recompute }: Published, imagesOf: (gpus: number) => number | null): Row[] {
  const { config } = modelOfRun(run)
  const tokens = Math.min(tokenCount(config.patchNums), run.tokenDrop?.keep ?? Number.POSITIVE_INFINITY)
  return gpuCounts.flatMap((gpus) => {
    const images = imagesOf(gpus)
    if (images === null) return []
    const input = { config, images, tokens, recompute, gpus, card: h100 }
    const [near, far] = [fast, slow].map((network) => stepTimes({ ...input, network }))
    return [{ gpus, images, near, far }]
  })
}

function table(name: string, rows: readonly Row[]): string {
  const lines = rows.map(({ gpus, images, near, far }) => {
    const { forwardMs, backwardMs, optimizerMs } = near
    const cells = [gpus, images, milliseconds(forwardMs + backwardMs + optimizerMs)]
    for (const { exchangeMs, exposedMs, efficiency, shardedEfficiency } of [near, far])
      cells.push(
        `${milliseconds(exchangeMs)}, ${milliseconds(exposedMs)}`,
        percent(efficiency),
        percent(shardedEfficiency),
      )
    return `| ${cells.join(' | ')} |`
  })
  const where = ([fast, slow] as const).map((network, i) => {
    const bent = rows.find(({ near, far }) => [near, far][i].efficiency < bend)
    return `${network.name}: ${bent ? `below ${percent(bend)} from ${bent.gpus} GPUs on` : `at least ${percent(bend)} all along`}`
  })
  return [
    `**${name}** (${where.join('; ')})`,
    '',
    `| GPUs | pictures a GPU | computing, ms | exchange, left of it, ms: ${fast.name} | efficiency | sharded | ${slow.name} | efficiency | sharded |`,
    `|${'---|'.repeat(9)}`,
    ...lines,
  ].join('\n')
}

/** The rows of each run: with its own batch as far as GPUs can share it, and with one that grows. */
export function allRows(): { name: string; strong: Row[]; weak: Row[] }[] {
  return published().map((one) => {
    const { batchSize } = one.run.optimizer
    return {
      name: one.name,
      strong: rowsOf(one, (gpus) => (batchSize % gpus === 0 ? batchSize / gpus : null)),
      weak: rowsOf(one, () => one.images),
    }
  })
}

/** The page as it stands, with today's tables. */
export function scalingText(): string {
  const all = allRows()
  const times = all.flatMap(({ strong, weak }) => [...strong, ...weak]).flatMap(({ near, far }) => [near, far])
  const differ = Math.max(...times.map(({ replayedMs, exposedMs, stepMs }) => (replayedMs - exposedMs) / stepMs))
  return withTables(readFileSync(scalingPage, 'utf8'), {
    measured: measuredTable(),
    replayed: `${replayTable()}\n\n${readySentence()} In the tables below, replay and formula differ by at most ${(100 * differ).toFixed(1)} % of a step.`,
    'published batch': all.map(({ name, strong }) => table(name, strong)).join('\n\n'),
    'batch grows': all.map(({ name, weak }) => table(name, weak)).join('\n\n'),
  })
}

if (process.argv[1] === import.meta.filename) writeFileAtomic(scalingPage, Buffer.from(scalingText()))
