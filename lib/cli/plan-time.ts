/** `star plan --time`: the clock on paper of a training step or of pictures, as a table. */
import type { ModelType } from '../models/star/index.js'
import type { CardName } from '../plan/index.js'
import type { SpeedName } from '../sampling/index.js'
import type { LoraRunConfig } from '../train/kinds/lora/config.js'
import type { TransformerRunConfig } from '../train/kinds/transformer/config.js'
import type { TimePlan } from '../train/paper-clock.js'
import { columns } from './text.js'

/** Steps of an epoch that lengths in epochs are resolved with: they decide nothing within a step. */
const stepsPerEpoch = 1000
const ignore = ['weights', 'weights and optimizer']

/** The optimizer of one of the processes that share a batch. */
async function optimizerOf({ optimizer }: TransformerRunConfig | LoraRunConfig, processes: number) {
  const { resolveOptimizer } = await import('../train/config/resolve.js')
  const resolved = resolveOptimizer(optimizer, stepsPerEpoch)
  return { ...resolved, batchSize: resolved.batchSize / processes, shard: false }
}

export async function loraTime(run: LoraRunConfig, processes: number, card: CardName): Promise<TimePlan> {
  const { timeOnPaper } = await import('../train/paper-clock.js')
  const { rehearseLoraStep } = await import('../train/lora-rehearsal.js')
  const { baseOfRun } = await import('../train/kinds/lora/plan.js')
  const { config, tokenizer } = baseOfRun(run)
  const optimizer = await optimizerOf(run, processes)
  return timeOnPaper({ card, ignore }, (options) => rehearseLoraStep({ run, config, optimizer, tokenizer }, options))
}

export async function trainingTime(run: TransformerRunConfig, processes: number, card: CardName): Promise<TimePlan> {
  const { timeOnPaper } = await import('../train/paper-clock.js')
  const { rehearseTransformerStep } = await import('../train/rehearsal.js')
  const { modelOfRun } = await import('../train/kinds/transformer/plan.js')
  const { tokenizerSchema } = await import('../models/tokenizer/index.js')
  const { config } = modelOfRun(run)
  const optimizer = await optimizerOf(run, processes)
  const tokenizer = tokenizerSchema.parse({ patchNums: config.patchNums })
  return timeOnPaper({ card, ignore }, (options) =>
    rehearseTransformerStep({ run, config, optimizer, tokenizer }, options),
  )
}

export interface PicturesTimed {
  depth: number
  side: number
  batch: number
  cfg: number
  dtype: ModelType
  stable?: boolean
  speed?: SpeedName
}

export async function picturesTime(
  { depth, side, batch, cfg, dtype, stable, speed }: PicturesTimed,
  card: CardName,
): Promise<TimePlan> {
  const { timeOnPaper } = await import('../train/paper-clock.js')
  const { rehearseGeneration } = await import('../train/rehearsal.js')
  const { publishedScales } = await import('../models/star/index.js')
  const patchNums = publishedScales.get(side)!
  // Scales are recorded on a GPU; what each launch of a graph does is seen where it runs op by op.
  return timeOnPaper({ card, recorded: true, ignore }, (options) =>
    rehearseGeneration({ depth, patchNums, images: batch, dtype, settings: { cfg, speed }, stable }, options),
  )
}

export function timeTable({ parts, seconds, peakBytes, costliest }: TimePlan, peak: number): string {
  const ms = (s: number): string => (1000 * s).toFixed(1)
  const operations = parts.reduce((sum, part) => sum + part.operations, 0)
  return [
    columns([
      ['part', 'expected ms', 'TFLOP', 'on tensor cores', 'GB', 'launches', 'host waits'],
      ...parts.map((part) => [
        part.part,
        ms(part.seconds),
        (part.operations / 1e12).toFixed(2),
        part.operations > 0 ? `${Math.round(100 * part.tensorCores)} %` : '–',
        (part.bytes / 1e9).toFixed(2),
        String(part.launches),
        String(part.hostWaits),
      ]),
      ['in all', ms(seconds), (operations / 1e12).toFixed(2), '', '', '', ''],
    ]),
    `most of it: ${costliest.map(([name, s]) => `${name} ${ms(s)} ms`).join(', ')}`,
    `${((100 * operations) / (seconds * peak)).toFixed(0)} % of the card's 16-bit rate; tensors take ${(peakBytes / 1e9).toFixed(2)} GB at most at once`,
    'on paper: no GPU has run this (docs/kernels.md, "The clock on paper")',
  ].join('\n')
}
