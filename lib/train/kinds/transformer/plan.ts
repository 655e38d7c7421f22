/** The memory plan of a training run. */

import { existsSync } from 'node:fs'
import { totalmem } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { readConfigFile } from '../../../config/parse-config.js'
import { findModel, partEntries } from '../../../models/source.js'
import { publishedScales, type StarConfig, starConfig } from '../../../models/star/index.js'
import { miniLmL6, textEncoderNames } from '../../../models/text/index.js'
import { type TokenizerConfig, tokenizerSchema } from '../../../models/tokenizer/index.js'
import { checkFits, type MemoryPlan, planTraining } from '../../../plan/index.js'
import { checkShares } from '../../config/optimizer.js'
import { precisionOn } from '../../config/precision.js'
import { longestSample } from '../../data/shapes.js'
import type { TransformerRunConfig } from './config.js'

/** Tokens that prompts are taken to have: what a CLIP encoder reads. */
export const textLength = 77

/** What may be in use of a machine by programs of its own. */
const share = 0.95

/** Bytes that the process may take on the CPU: the machine's memory, or the limit of its container. */
export function hostMemory(): number {
  const limit = process.constrainedMemory()
  return share * (limit > 0 ? Math.min(limit, totalmem()) : totalmem())
}

/** Bytes a step takes of one of `processes` with this transformer. @throws ERR_CONFIG where they cannot share the batch */
export function planTransformerRun(
  run: TransformerRunConfig,
  config: StarConfig,
  tokenizerBytes: number,
  processes = 1,
): MemoryPlan {
  const { batchSize, accumulate, ema, shard, kind } = run.optimizer
  checkShares(run.optimizer, processes)
  return planTraining({
    config,
    samples: batchSize / accumulate / processes,
    processes,
    shard,
    accumulate,
    precision: precisionOn(run.precision, 'cpu'),
    recompute: run.recompute,
    muon: kind === 'muon',
    average: ema > 0,
    length: Math.min(longestSample(run.data, config.patchNums), run.tokenDrop?.keep ?? Number.POSITIVE_INFINITY),
    textLength,
    tokenizer: tokenizerBytes,
  })
}

/** What to change in a run that does not fit. */
export function remedies(
  { optimizer, recompute, precision }: Pick<TransformerRunConfig, 'optimizer' | 'recompute' | 'precision'>,
  processes: number,
): string[] {
  const { batchSize, accumulate, shard, kind } = optimizer
  return [
    ...(accumulate * processes < batchSize
      ? [`cut the batch into more micro-batches (optimizer.accumulate, now ${accumulate})`]
      : []),
    ...(recompute ? [] : ['set recompute to true']),
    ...(precisionOn(precision, 'cpu') === 'f32' ? ['train in bf16 (precision)'] : []),
    ...(processes > 1 && !shard && kind === 'adamw' ? ['shard the optimizer (optimizer.shard)'] : []),
    'take a smaller batch or model',
  ]
}

/** @throws ERR_MEMORY when a step would take more than `available` bytes */
export function checkTransformerRun(
  run: TransformerRunConfig,
  plan: MemoryPlan,
  available: number,
  device: string,
  processes = 1,
): void {
  checkFits(plan, available, device, remedies(run, processes))
}

/** The transformer of a run, and the bytes of its tokenizer, without loading either. */
export interface RunModel {
  config: StarConfig
  tokenizerBytes: number
  /** What was taken for granted because a file is not there. */
  assumed: string[]
}

function textWidthOf(name: string): number | null {
  if (textEncoderNames.includes(name)) return miniLmL6.width
  const file = [name, join(name, 'text_encoder')]
    .map((folder) => join(folder, 'config.json'))
    .find((f) => existsSync(f))
  if (!file) return null
  const sizes = readConfigFile(z.looseObject({ hidden_size: z.int().optional(), d_model: z.int().optional() }), file)
  return sizes.hidden_size ?? sizes.d_model ?? null
}

/** Reads the configurations that a run names; of files that are not there yet, the published sizes are taken. */
export function modelOfRun(run: TransformerRunConfig): RunModel {
  const assumed: string[] = []
  let tokenizer: TokenizerConfig
  let tokenizerBytes = 0
  if (existsSync(run.tokenizer)) {
    const source = findModel(run.tokenizer)
    tokenizer = source.tokenizer
    for (const { count } of partEntries(source, 'tokenizer')) tokenizerBytes += 4 * count
  } else {
    const scales = run.patchNums ?? publishedScales.get(run.data.resolution)
    tokenizer = tokenizerSchema.parse(scales ? { patchNums: [...scales] } : {})
    assumed.push(`tokenizer ${run.tokenizer} is not there: the published one's sizes are taken`)
  }
  const width = textWidthOf(run.textEncoder)
  if (width === null) assumed.push(`text encoder ${run.textEncoder} is not there: 1024 channels are taken`)
  const { patchNums, vocabSize, latentChannels } = tokenizer
  const config = starConfig({
    ...run.model,
    patchNums: [...(run.patchNums ?? patchNums)],
    vocabSize,
    latentChannels,
    textWidth: width ?? 1024,
  })
  return { config, tokenizerBytes, assumed }
}
