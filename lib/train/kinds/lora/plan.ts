/** The memory plan of a LoRA's training. */

import { loraTargets } from '../../../models/lora/targets.js'
import { findModel, type ModelSource, partEntries } from '../../../models/source.js'
import { type StarConfig, starConfig } from '../../../models/star/index.js'
import type { TokenizerConfig } from '../../../models/tokenizer/index.js'
import { StarError } from '../../../native/index.js'
import { checkFits, loraCounts, type MemoryPlan, planTraining } from '../../../plan/index.js'
import { baseSource } from '../../config/base.js'
import { checkShares } from '../../config/optimizer.js'
import { precisionOn } from '../../config/precision.js'
import { longestSample } from '../../data/shapes.js'
import { remedies, textLength } from '../transformer/plan.js'
import type { LoraRunConfig } from './config.js'

/** The frozen model of a run, and the bytes of its tokenizer, without loading either. */
export interface LoraBase {
  config: StarConfig
  tokenizer: TokenizerConfig
  tokenizerBytes: number
}

/** @throws ERR_FILE where the base is not on this machine, and as `sizesOf` */
export function baseOfRun(run: LoraRunConfig): LoraBase {
  const { name, options } = baseSource(run)
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  return sizesOf(findModel(name, given))
}

/** Sizes of a base, of which names and shapes are read. @throws ERR_CONFIG where it holds no transformer */
export function sizesOf(source: ModelSource): LoraBase {
  let tokenizerBytes = 0
  for (const { count } of partEntries(source, 'tokenizer')) tokenizerBytes += 4 * count
  const { transformer, tokenizer } = source
  if (!transformer)
    throw new StarError('ERR_CONFIG', `base: ${source.path} holds no transformer: name a model that draws`)
  return { config: starConfig(transformer), tokenizer, tokenizerBytes }
}

/** Samples of a micro-batch, those of the prior among them. */
export const samplesOf = ({ optimizer, prior }: LoraRunConfig, processes = 1): number =>
  ((prior ? 2 : 1) * optimizer.batchSize) / optimizer.accumulate / processes

/** Bytes a step takes of one of `processes`. @throws ERR_CONFIG where they cannot share the batch */
export function planLoraRun(run: LoraRunConfig, { config, tokenizerBytes }: LoraBase, processes = 1): MemoryPlan {
  const { accumulate, ema, shard } = run.optimizer
  checkShares(run.optimizer, processes)
  return planTraining({
    config,
    samples: samplesOf(run, processes),
    processes,
    shard,
    accumulate,
    precision: precisionOn(run.precision, 'cpu'),
    recompute: run.recompute,
    average: ema > 0,
    length: longestSample(run.data, config.patchNums),
    textLength,
    tokenizer: tokenizerBytes,
    lora: {
      ...loraCounts(
        config,
        run.rank,
        run.targets.flatMap((target) => [...loraTargets[target]]),
      ),
      int8: run.baseDtype === 'int8',
    },
  })
}

/** @throws ERR_MEMORY when a step would take more than `available` bytes */
export function checkLoraRun(
  run: LoraRunConfig,
  plan: MemoryPlan,
  available: number,
  device: string,
  processes = 1,
): void {
  const { baseDtype } = run
  checkFits(plan, available, device, [
    ...(baseDtype === 'int8' ? [] : ['hold the frozen model in 8 bits (baseDtype)']),
    ...remedies(run, processes),
  ])
}
