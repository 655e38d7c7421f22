/** Sizes and options of the transformer, and the geometry that follows from its scales. */
import { z } from 'zod'
import { parseConfig } from '../../config/parse-config.js'
import { type Grid, gridsOf, positionsIn } from '../grid.js'

/** Whose text a sample attends to. `first-sample` reproduces the released program, which adds sample 0's output to the whole batch. */
export const crossAttentionModes = ['per-sample', 'first-sample'] as const
/** Whose text a picture attends to: its own, or the first one of its batch. */
export type CrossAttentionMode = (typeof crossAttentionModes)[number]

/** Beyond any model, and little enough that a wrong digit is an error and not gigabytes. */
const count = z
  .int()
  .positive()
  .max(1 << 20)

/** The keys by themselves, for configurations that leave some to others (a training run takes sizes from its tokenizer). */
export const starOptionsSchema = z.strictObject({
  depth: z.int().positive().max(1000).describe('number of blocks'),
  width: count.describe('channels C of the residual stream'),
  heads: count.describe('attention heads; the published models have C/64 of them'),
  patchNums: z
    .array(z.int().positive().max(512))
    .min(1)
    .max(100)
    .describe('side of each scale’s token map, first to last'),
  vocabSize: count.default(4096).describe('codebook size V'),
  latentChannels: count.default(32).describe('codebook channels Z'),
  textWidth: count.default(1024).describe('channels of the text encoder'),
  mlpRatio: z.number().positive().max(1000).default(4).describe('hidden width of the feed-forward over C'),
  dropPath: z
    .number()
    .min(0)
    .max(0.99)
    .optional()
    .describe('stochastic depth rate of the last block; default 0.1·depth/24'),
  attnL2Norm: z.boolean().default(true).describe('normalise queries and keys, with a learnt scale per head'),
  rope: z
    .boolean()
    .default(true)
    .describe('rotate queries and keys by position; otherwise positions are learnt (pos_1LC)'),
  ropeTheta: z.number().positive().default(10000).describe('base θ of the frequencies by which positions rotate'),
  ropeNorm: z.number().positive().default(64).describe('coordinate of the last row and column of every scale'),
  levelEmbedding: z.boolean().default(true).describe('add a learnt vector per scale'),
  logitNorm: z.boolean().default(true).describe('LayerNorm before the head'),
  sharedAdaLN: z.boolean().default(false).describe('modulate blocks by the scale’s embedding'),
  enableCross: z.boolean().default(true).describe('cross-attention to the text in every block'),
  crossAttention: z
    .enum(crossAttentionModes)
    .default('per-sample')
    .describe('whose text a picture attends to: its own, or the first one of the batch as in the released program'),
})

export const starConfigSchema = starOptionsSchema.superRefine((c, context) => {
  if (c.width % c.heads !== 0)
    context.addIssue({ code: 'custom', message: `width ${c.width} is not a multiple of heads ${c.heads}` })
  else if (c.rope && (c.width / c.heads) % 4 !== 0)
    context.addIssue({
      code: 'custom',
      message: `head size ${c.width / c.heads} is not a multiple of 4, which rotation needs`,
    })
})

/** Sizes and options of a transformer. */
export type StarConfig = z.output<typeof starConfigSchema>
export type StarConfigInput = z.input<typeof starConfigSchema>

/** Fills in defaults and checks a configuration. @throws ERR_CONFIG with every problem in one line */
export const starConfig = (input: StarConfigInput): StarConfig =>
  parseConfig(starConfigSchema, input, 'the configuration of the transformer')

/** How large first values are. The defaults are those of the published runs. */
export const initScalesSchema = z.strictObject({
  std: z.number().positive().optional().describe('standard deviation of linears and embeddings; default: √(1/3C)'),
  head: z.number().positive().default(0.02).describe('factor on the weight of the head'),
  modulation: z.number().min(0).default(0.5).describe('factor on the scales and shifts of shared AdaLN'),
  gain: z.number().min(0).default(5e-5).describe('factor on the branch gains γ of shared AdaLN, which start near zero'),
})

export type InitScales = z.output<typeof initScalesSchema>

/** Scale index from which on tokens are sampled in steps where there is a sampler head. */
export const firstStableScale = 9

/** A scale's token map, row by row, and where its tokens lie in the sequence. */
export interface Level extends Grid {
  begin: number
  end: number
}

/** Token ranges of all scales in order. @param last the last scale's map; default: the square of the last of patchNums */
export function levels(patchNums: readonly number[], last?: Grid): Level[] {
  let begin = 0
  return gridsOf(patchNums, last).map((grid) => {
    const level = { ...grid, begin, end: begin + positionsIn(grid) }
    begin = level.end
    return level
  })
}

/** L, the number of tokens over all scales. @param last as of `levels` */
export const tokenCount = (patchNums: readonly number[], last?: Grid): number => levels(patchNums, last).at(-1)!.end

/** The stochastic depth rate of each block: 0 in the first, rising evenly to the last. */
export function dropPathRates({
  depth,
  dropPath = (0.1 * depth) / 24,
}: Pick<StarConfig, 'depth' | 'dropPath'>): number[] {
  return Array.from({ length: depth }, (_, i) => (depth === 1 ? 0 : (dropPath * i) / (depth - 1)))
}
