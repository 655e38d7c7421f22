/** The training objective: cross-entropy of the true tokens of all scales, and what is reported about it. */
import { StarError } from '../../native/index.js'
import {
  affine,
  clamp,
  concat,
  crossEntropy,
  equal,
  full,
  mean,
  mul,
  mulSum,
  noGrad,
  reshape,
  scope,
  segmentSum,
  slice,
  sum,
  sumRows,
  Tensor,
} from '../../tensor/index.js'
import type { Level } from './config.js'

export interface ScaleMetrics {
  loss: number
  accuracy: number
}

/** Losses in nats, accuracies in percent. */
export interface TokenMetrics extends ScaleMetrics {
  /** Of each scale; null where none of its tokens was computed. */
  perScale: (ScaleMetrics | null)[]
  /** Percent of the codebook that is the most probable token somewhere. */
  usage: number
}

export interface ObjectiveOptions {
  labelSmoothing?: number
  /** Weight w of each of the n tokens; default 1/n. */
  weights?: Float32Array
}

/** Flattens logits (B, L, V) and targets (B, L) to rows. */
function rows(logits: Tensor, targets: Tensor): [Tensor, Tensor] {
  const [batch, length, vocab] = logits.shape
  if (logits.rank !== 3 || targets.shape.join() !== `${batch},${length}`)
    throw new StarError(
      'ERR_SHAPE',
      `objective: logits (${logits.shape.join(', ')}) and targets (${targets.shape.join(', ')}), expected (B, L, V) and (B, L)`,
    )
  return [reshape(logits, [batch * length, vocab]), reshape(targets, [batch * length])]
}

/**
 * Mean over the batch of Σ over tokens of w·cross-entropy.
 * @param logits (B, n, V)
 * @param targets i32 (B, n)
 * @returns a scalar
 * @throws ERR_SHAPE when logits, targets and weights do not fit one another
 */
export function tokenLoss(
  logits: Tensor,
  targets: Tensor,
  { labelSmoothing = 0, weights }: ObjectiveOptions = {},
): Tensor {
  return weightedMean(crossEntropy(...rows(logits, targets), { labelSmoothing }).losses, targets, weights)
}

/** @param losses (B·n); targets give B and n */
function weightedMean(losses: Tensor, targets: Tensor, weights?: Float32Array): Tensor {
  if (!weights) return mean(losses)
  const [batch, length] = targets.shape
  if (weights.length !== length)
    throw new StarError('ERR_SHAPE', `objective: ${weights.length} weights were given for ${length} tokens`)
  const all = new Float32Array(batch * length)
  for (let b = 0; b < batch; b++) all.set(weights, b * length)
  const weighted = mulSum(losses, Tensor.from(all, [all.length], { device: losses.device }))
  return affine(weighted, null, 1 / batch, 0, 0)
}

/** Logit of the extra class where a token is known. */
const knownLogit = 10

/**
 * The sampler head's objective: cross-entropy over V + 1 classes, of which the last stands for a token that is known. An open
 * token has logit 0 there; a known one has 10 there and 0 elsewhere, so that it adds the constant log(1 + V·e⁻¹⁰). Summed
 * over the tokens, divided by `length` and averaged over the batch, as in the reference implementation.
 * @param logits (B, n, V)
 * @param targets i32 (B, n)
 * @param known 1 where a token is known, else 0: (B·n)
 * @param length L, the tokens of all scales
 * @returns loss, a scalar, and of the open tokens the mean loss in nats and the accuracy in percent among the V codes: (2)
 */
export function samplerObjective(
  logits: Tensor,
  targets: Tensor,
  known: Float32Array,
  length: number,
): { loss: Tensor; open: Tensor } {
  const [batch, , vocab] = logits.shape
  const [flat, flatTargets] = rows(logits, targets)
  const device = logits.device
  const { losses, nll, predictions } = crossEntropy(flat, flatTargets, { extraClass: true })
  const open = Tensor.from(
    known.map((k) => 1 - k),
    [known.length],
    { device },
  )
  const knownCount = known.reduce((sum, k) => sum + k, 0)
  const constant = Math.log1p(vocab * Math.exp(-knownLogit)) * knownCount
  const scale = 1 / (batch * length)
  const figures = noGrad(() =>
    scope(() => {
      const perOpen = 1 / Math.max(1, known.length - knownCount)
      const mean = (x: Tensor, unit: number): Tensor => reshape(mul(mulSum(x, open), unit * perOpen), [1])
      return concat([mean(nll, 1), mean(equal(predictions, flatTargets), 100)], 0)
    }),
  )
  return { loss: affine(mulSum(losses, open), null, scale, 0, constant * scale), open: figures }
}

/**
 * What metrics are made of, on the device: of each scale Σ loss and the number of right answers, (K, 2) row-major, then the
 * number of codes that are the most probable one somewhere.
 * @param of nll (B·n), predictions and targets i32 (B·n)
 * @param levels where the tokens of each scale lie among the n of a sample
 */
function sumsOf(
  { nll, predictions }: { nll: Tensor; predictions: Tensor },
  targets: Tensor,
  { length, vocab }: { length: number; vocab: number },
  levels: readonly Level[],
): Tensor {
  const { device } = nll
  const batch = nll.count / length
  const perToken = (x: Tensor): Tensor => reshape(sumRows(reshape(x, [batch, length])), [length, 1]) // (n, 1)
  // What no scale holds is counted behind the last one.
  const scales = new Int32Array(length).fill(levels.length)
  for (const [k, { begin, end }] of levels.entries()) scales.fill(k, begin, end)
  const sums = segmentSum(
    concat([perToken(nll), perToken(equal(predictions, targets))], 1),
    Tensor.from(scales, [length], { device }),
    levels.length + 1,
  ) // (K + 1, 2)
  const met = segmentSum(full([predictions.count, 1], 1, { device }), predictions, vocab) // (V, 1)
  const count = sum(clamp(met, 0, 1))
  return concat([reshape(slice(sums, 0, 0, levels.length), [2 * levels.length]), reshape(count, [1])], 0)
}

/**
 * The loss of a batch and the sums that `namedMetrics` reads, which know nothing of label smoothing. Everything stays on the
 * device.
 * @param levels where the tokens of each scale lie among the n of logits and targets
 * @throws ERR_SHAPE as `tokenLoss`
 */
export function tokenObjective(
  logits: Tensor,
  targets: Tensor,
  levels: readonly Level[],
  options: ObjectiveOptions = {},
): { loss: Tensor; sums: Tensor } {
  const [flat, flatTargets] = rows(logits, targets)
  const rowLosses = crossEntropy(flat, flatTargets, options)
  const sums = noGrad(() =>
    scope(() => sumsOf(rowLosses, flatTargets, { length: targets.dim(1), vocab: logits.dim(2) }, levels)),
  )
  return { loss: weightedMean(rowLosses.losses, targets, options.weights), sums }
}

/** Metrics of `batch` samples with codebooks of `vocab` rows, from the sums of `tokenObjective`. */
export function namedMetrics(
  sums: ArrayLike<number>,
  levels: readonly Level[],
  { batch, vocab }: { batch: number; vocab: number },
): TokenMetrics {
  const perScale = levels.map(({ begin, end }, k) => {
    const count = batch * (end - begin)
    return count > 0 ? { loss: sums[2 * k] / count, accuracy: (100 * sums[2 * k + 1]) / count } : null
  })
  const count = batch * levels.reduce((n, { begin, end }) => n + end - begin, 0)
  const total = (column: 0 | 1): number => levels.reduce((s, _, k) => s + sums[2 * k + column], 0)
  return {
    loss: total(0) / count,
    accuracy: (100 * total(1)) / count,
    perScale,
    usage: (100 * sums[2 * levels.length]) / vocab,
  }
}

/** Metrics of a batch, read back to the host. */
export function tokenMetrics(logits: Tensor, targets: Tensor, levels: readonly Level[]): TokenMetrics {
  const [batch, , vocab] = logits.shape
  return noGrad(() =>
    scope(() => namedMetrics(tokenObjective(logits, targets, levels).sums.floats(), levels, { batch, vocab })),
  )
}
