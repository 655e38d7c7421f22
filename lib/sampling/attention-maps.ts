/**
 * Where a picture shows what a prompt says: how much its tokens attend to each token of the text (as of Hertz et al. 2022,
 * "Prompt-to-Prompt", arXiv 2208.01626, for diffusion models).
 */
import { setImmediate } from 'node:timers/promises'
import { type Grid, gridsOf, positionsIn, squareGrid } from '../models/grid.js'
import { ScaleDecoder, type StarTransformer, type TextInput } from '../models/star/index.js'
import { latentSide, type Tokenizer } from '../models/tokenizer/index.js'
import { StarError } from '../native/index.js'
import { concat, keep, noGrad, scope, slice, type Tensor } from '../tensor/index.js'
import { areaMeans } from './area-means.js'
import { tokensOf } from './given-pictures.js'

export interface AttentionMapsOptions {
  tokenizer: Tokenizer
  transformer: StarTransformer
  /** Encoded prompts, each of which the picture is read with. */
  text: TextInput
  /** R, G, B bytes of a picture that the models draw. */
  pixels: Uint8Array
  /** The last scale's map; default: the square. */
  grid?: Grid
  /** Indices of the scales whose attention counts; default: those of at least half the last one's side. */
  scales?: readonly number[]
  /** Indices of the blocks whose attention counts; default: all. */
  blocks?: readonly number[]
  /** Does a piece of work of the transformer; other work may have its turn between pieces. Default: just does it. */
  within?: <T>(work: () => T) => T
  signal?: AbortSignal
}

/** The scales of at least half the last one's side, which tell where something is. */
export function fineScales(patchNums: readonly number[]): number[] {
  const last = patchNums[patchNums.length - 1]
  return patchNums.flatMap((p, k) => (2 * p >= last ? [k] : []))
}

/** @throws ERR_ARGUMENT for indices that are none, or of something that the model has not */
function checkIndices(name: string, given: readonly number[], count: number): void {
  const wrong = given.find((i) => !Number.isInteger(i) || i < 0 || i >= count)
  if (wrong !== undefined || given.length === 0)
    throw new StarError(
      'ERR_ARGUMENT',
      `attention: ${name} are [${given.join(', ')}], expected some of the model's, from 0 to ${count - 1}`,
    )
}

/**
 * The picture becomes tokens of all scales, and the transformer reads them with each prompt, each scale given those before it. The
 * probabilities with which its tokens attend to the text are averaged over heads, blocks and scales; a position of a coarser scale
 * counts for the area that it covers.
 * @returns for each prompt (h·w of the last scale, T), row by row; the sum over T is 1
 * @throws ERR_CONFIG for a model without cross-attention, ERR_ARGUMENT for scales or blocks that it has not, ERR_ABORTED
 */
export async function attentionMaps(options: AttentionMapsOptions): Promise<Float32Array[]> {
  const { tokenizer, transformer, text, pixels, within = (work) => work(), signal } = options
  const { config } = transformer
  const last = options.grid ?? squareGrid(latentSide(tokenizer.config))
  const { scales = fineScales(config.patchNums), blocks = transformer.blocks.map((_, i) => i) } = options
  checkIndices('scales', scales, config.patchNums.length)
  checkIndices('blocks', blocks, config.depth)
  if (!config.enableCross)
    throw new StarError(
      'ERR_CONFIG',
      'attention: this model reads its text without cross-attention, so there is none to show',
    )
  const prompts = text.pooled.dim(0)
  const length = text.states.dim(1)
  const grids = gridsOf(config.patchNums, last)
  const sums = Array.from({ length: prompts }, () => new Float32Array(positionsIn(last) * length))
  const onAttention = (scale: number, block: number, weights: Tensor): void => {
    if (!scales.includes(scale) || !blocks.includes(block)) return
    const values = weights.floats()
    const count = positionsIn(grids[scale]) * length
    sums.forEach((sum, i) => {
      addEnlarged(sum, values.subarray(i * count, (i + 1) * count), {
        ...{ from: grids[scale], to: last, length, share: 1 / (scales.length * blocks.length) },
      })
    })
  }
  // Each prompt is a sample, and attends to its own text in both modes.
  using decoder = within(() => new ScaleDecoder(transformer, { text, attending: prompts, grid: last, onAttention }))
  const input = noGrad(() => scope(() => tokenizer.quantizer.transformerInput(tokensOf(tokenizer, pixels, last), last)))
  using tokens = keep(input) // (1, L − p_1², Z)
  const [first] = transformer.levelsOf(last)
  for (const [k, { begin, end }] of transformer.levelsOf(last).entries()) {
    if (k > Math.max(...scales)) break
    // Whoever waits for the event loop has a turn between scales.
    await setImmediate()
    if (signal?.aborted) throw new StarError('ERR_ABORTED', 'the attention was aborted', { cause: signal.reason })
    noGrad(() =>
      scope(() => {
        const own = k === 0 ? null : slice(tokens, 1, begin - first.end, end - first.end)
        within(() => decoder.step(k, own && concat(Array<Tensor>(prompts).fill(own), 0)))
      }),
    )
  }
  return sums
}

/** sum += share·values, each position's `length` values spread over the area that it covers. */
function addEnlarged(
  sum: Float32Array,
  values: Float32Array,
  { from, to, length, share }: { from: Grid; to: Grid; length: number; share: number },
): void {
  for (let t = 0; t < length; t++) {
    const map = areaMeans(
      Float32Array.from({ length: positionsIn(from) }, (_, i) => values[i * length + t]),
      from,
      to,
    )
    map.forEach((value, i) => {
      sum[i * length + t] += share * value
    })
  }
}
