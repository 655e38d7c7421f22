/** What is timed beside the clock on paper: pictures and training steps of published sizes, tiny ones on simt. */
import { publishedScales, starConfig } from '../../../lib/models/star/index.js'
import { tokenizerSchema } from '../../../lib/models/tokenizer/index.js'
import { resolveOptimizer } from '../../../lib/train/config/resolve.js'
import {
  type RehearsalOptions,
  type Rehearsed,
  rehearseGeneration,
  rehearseTransformerStep,
} from '../../../lib/train/rehearsal.js'
import { readRunConfig } from '../../../lib/train/run-config.js'

export interface Workload {
  name: string
  kind: 'picture' | 'training step'
  /** `timed`: as a card is timed, repeated and, pictures, recorded; else once and op by op, as the clock on paper looks at it. */
  run(options: RehearsalOptions, timed: boolean): Promise<Rehearsed>
}

/** Steps that a timed training takes: one to warm up, three that are timed whole, and one that is timed part by part. */
export const timedSteps = 5

/** Parts that are no work of a picture or a step. */
export const ignoredParts: readonly string[] = ['weights', 'weights and optimizer', 'recordings']

function picture(depth: number, patchNums: readonly number[], dtype: 'bf16' | 'int8', baseChannels?: number): Workload {
  const work = { depth, patchNums, images: 1, dtype, baseChannels, settings: { cfg: 4 } }
  return {
    name: `picture of ${16 * patchNums[patchNums.length - 1]}², d${depth}, ${dtype}`,
    kind: 'picture',
    run: (options, timed) => rehearseGeneration({ ...work, recorded: timed }, options),
  }
}

function trainingStep(depth: number, patchNums: readonly number[], batchSize: number): Workload {
  const config = starConfig({ depth, width: 64 * depth, heads: depth, patchNums: [...patchNums], textWidth: 1024 })
  return {
    name: `training step at ${16 * patchNums[patchNums.length - 1]}², d${depth}, batch ${batchSize}, bf16`,
    kind: 'training step',
    async run(options, timed) {
      const { config: run } = readRunConfig('configs/config_d16_256.json')
      if (run.kind !== 'transformer') throw new Error(`config_d16_256.json is of kind ${run.kind}`)
      // Lengths in epochs are resolved with any number of steps: they decide nothing within one.
      const optimizer = { ...resolveOptimizer(run.optimizer, 1000), batchSize, accumulate: 1, shard: false }
      const tokenizer = tokenizerSchema.parse({ patchNums: [...patchNums] })
      const work = { run: { ...run, precision: 'bf16' as const }, config, optimizer, tokenizer }
      return rehearseTransformerStep(work, { ...options, steps: timed ? timedSteps : 1 })
    },
  }
}

/** @param tiny sizes that simt computes in seconds, in place of the published ones */
export function workloads(tiny: boolean): Workload[] {
  const sizes = tiny
    ? ([
        [1, [1, 2], 2],
        [2, [1, 2, 3], 1],
      ] as const)
    : ([
        [16, publishedScales.get(256)!, 64],
        [30, publishedScales.get(1024)!, 2],
      ] as const)
  const channels = tiny ? 32 : undefined
  return [
    ...sizes.flatMap(([depth, scales]) =>
      (['bf16', 'int8'] as const).map((dtype) => picture(depth, scales, dtype, channels)),
    ),
    ...sizes.map(([depth, scales, batch]) => trainingStep(depth, scales, batch)),
  ]
}
