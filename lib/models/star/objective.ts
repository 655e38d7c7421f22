/** The training objective: cross-entropy of the true tokens of all scales, and what is reported about it. */
import { StarError } from '../../native/index.js'
import {
  affine,
  concat,
  crossEntropy,
  mean,
  mulSum,
  noGrad,
  reshape,
  scope,
  Tensor,
  zeros,
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
  const { losses } = crossEntropy(...rows(logits, targets), { labelSmoothing })
  if (!weights) return mean(losses)
  const [batch, length] = targets.shape
  if (weights.length !== length)
    throw new StarError('ERR_SHAPE', `objective: ${weights.length} weights were given for ${length} tokens`)
  const all = new Float32Array(batch * length)
  for (let b = 0; b < batch; b++) all.set(weights, b * length)
  const weighted = mulSum(losses, Tensor.from(all, [all.length], { device: logits.device }))
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
 * @returns a scalar
 */
export function samplerLoss(logits: Tensor, targets: Tensor, known: Float32Array, length: number): Tensor {
  const [batch, , vocab] = logits.shape
  const [flat, flatTargets] = rows(logits, targets)
  const device = logits.device
  const extended = concat([flat, zeros([flat.dim(0), 1], { device, dtype: flat.dtype })], 1) // (B·n, V + 1)
  const { losses } = crossEntropy(extended, flatTargets)
  const open = Tensor.from(
    known.map((k) => 1 - k),
    [known.length],
    { device },
  )
  const constant = Math.log1p(vocab * Math.exp(-knownLogit)) * known.reduce((sum, k) => sum + k, 0)
  const scale = 1 / (batch * length)
  return affine(mulSum(losses, open), null, scale, 0, constant * scale)
}

/**
 * Loss without label smoothing, accuracy and use of the codebook, over all tokens and of each scale. Reads results back to the host.
 * @param levels where the tokens of each scale lie among the n of logits and targets
 */
export function tokenMetrics(logits: Tensor, targets: Tensor, levels: readonly Level[]): TokenMetrics {
  return noGrad(() =>
    scope(() => {
      const { losses, predictions } = crossEntropy(...rows(logits, targets))
      const predicted = predictions.ints()
      const usage = (100 * new Set(predicted).size) / logits.dim(2)
      return { ...summarise(losses.floats(), predicted, targets.ints(), targets.dim(1), levels), usage }
    }),
  )
}

function summarise(
  losses: Float32Array,
  predictions: Int32Array,
  targets: Int32Array,
  length: number,
  levels: readonly Level[],
): Omit<TokenMetrics, 'usage'> {
  const batch = losses.length / length
  const sums = levels.map(({ begin, end }) => {
    const sum = { loss: 0, right: 0, count: batch * (end - begin) }
    for (let b = 0; b < batch; b++)
      for (let i = b * length + begin; i < b * length + end; i++) {
        sum.loss += losses[i]
        if (predictions[i] === targets[i]) sum.right++
      }
    return sum
  })
  const total = (what: 'loss' | 'right'): number => sums.reduce((s, x) => s + x[what], 0)
  return {
    loss: total('loss') / losses.length,
    accuracy: (100 * total('right')) / losses.length,
    perScale: sums.map(({ loss, right, count }) =>
      count > 0 ? { loss: loss / count, accuracy: (100 * right) / count } : null,
    ),
  }
}
