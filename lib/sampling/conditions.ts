/**
 * What is given of a scale before it is drawn. A recorded scale takes it like noise: its tensors are copied into buffers before
 * each launch; all else decides which recording is taken.
 */
import type { Level } from '../models/star/index.js'
import type { MultiScaleQuantizer } from '../models/tokenizer/index.js'
import { StarError } from '../native/index.js'
import { add, affine, keep, mul, reshape, scatterRows, softmax, sub, Tensor, zeros } from '../tensor/index.js'

/** Tensors are the caller's, and must live until the generation is over. */
export interface ScaleConditions {
  /** Known tokens, i32 (B, h·w); any where `known` is 0. */
  tokens: Tensor
  /** Share m of the known token in the code vector m·e(known) + (1 − m)·e(drawn), from 0 to 1: f32 (B, h·w). */
  known: Tensor
  /** Strength by which logits are led to the known token (`nudged`), from 0: f32 (B, h·w). Missing: not at all. */
  nudge?: Tensor
}

/**
 * Logits led to known tokens y by a strength s at each position, l + s·(onehot(y) − softmax(l)): a step against the gradient of the
 * cross-entropy of y (El-Ghoussani et al. 2026, "Masked Logit Nudging", arXiv 2604.14591).
 * @param logits (B, n, V) @param tokens i32 (B, n) @param strength f32 (B, n)
 */
export function nudged(logits: Tensor, tokens: Tensor, strength: Tensor): Tensor {
  const [batch, length, vocab] = logits.shape
  const rows = batch * length
  const towards = zeros([rows, vocab, 1], { device: logits.device })
  scatterRows(towards, reshape(strength, [rows, 1, 1]), reshape(tokens, [rows, 1]))
  const away = mul(softmax(logits), reshape(strength, [batch, length, 1]))
  return add(logits, sub(reshape(towards, logits.shape), away))
}

/** The code vectors of a scale with the given ones put in: codes (B, h·w, Z) → (B, h·w, Z). */
export function putGiven(quantizer: MultiScaleQuantizer, codes: Tensor, { tokens, known }: ScaleConditions): Tensor {
  const share = reshape(known, [...known.shape, 1]) // (B, h·w, 1)
  return add(mul(quantizer.embedIndices(tokens), share), mul(codes, affine(share, null, -1, 0, 1)))
}

/**
 * Checks the conditions of a generation of `images` images.
 * @throws ERR_ARGUMENT for more scales than the model has, ERR_SHAPE for tensors of other shapes or types
 */
export function checkConditions(
  conditions: readonly (ScaleConditions | null)[] = [],
  images: number,
  levels: readonly Level[],
): readonly (ScaleConditions | null)[] {
  if (conditions.length > levels.length)
    throw new StarError(
      'ERR_ARGUMENT',
      `generate: conditions of ${conditions.length} scales were given, expected at most ${levels.length}, one for each scale`,
    )
  conditions.forEach((scale, k) => {
    const { begin, end } = levels[k]
    for (const [name, type] of [
      ['tokens', 'i32'],
      ['known', 'f32'],
      ['nudge', 'f32'],
    ] as const) {
      const tensor = scale?.[name]
      if (tensor && (tensor.dtype !== type || tensor.shape.join() !== [images, end - begin].join()))
        throw new StarError(
          'ERR_SHAPE',
          `generate: conditions[${k}].${name} is ${tensor.dtype} (${tensor.shape.join(', ')}), expected ${type} (${images}, ${end - begin})`,
        )
    }
  })
  return conditions
}

/** Each tensor replaced by what `f` makes of it. */
const mapTensors = (scale: ScaleConditions, f: (tensor: Tensor) => unknown): object =>
  Object.fromEntries(
    Object.entries(scale).map(([name, value]) => [name, value instanceof Tensor ? f(value) : value] as const),
  )

const tensorsOf = (scale: ScaleConditions): Tensor[] => Object.values(scale).filter((value) => value instanceof Tensor)

/** What a recording depends on: everything but the values of tensors. */
export const conditionsKey = (scale: ScaleConditions | null): unknown =>
  scale && mapTensors(scale, (tensor) => [tensor.dtype, tensor.shape])

/** The same conditions in memory of their own, freed by `disposeConditions`. */
export function bufferedConditions(scale: ScaleConditions): ScaleConditions {
  const buffers = mapTensors(scale, ({ shape, dtype, device }) => keep(Tensor.empty(shape, { dtype, device })))
  copyConditions(buffers as ScaleConditions, scale)
  return buffers as ScaleConditions
}

/** Copies the values of the tensors into the buffers of conditions with the same key. */
export function copyConditions(to: ScaleConditions, from: ScaleConditions): void {
  const sources = tensorsOf(from)
  tensorsOf(to).forEach((buffer, i) => {
    buffer.copyFrom(sources[i])
  })
}

export function disposeConditions(scale: ScaleConditions): void {
  for (const tensor of tensorsOf(scale)) tensor.dispose()
}
