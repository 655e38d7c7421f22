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
import { levels } from './config.js'

/** Names as in the published program's log: L… losses in nats, Acc… in percent; m over all scales, t the last one. */
export interface TokenMetrics {
  Lm: number
  Accm: number
  Lt: number
  Acct: number
  perScale: { loss: number; accuracy: number }[]
}

export interface ObjectiveOptions {
  labelSmoothing?: number
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
 * Mean over the batch of Σ over tokens of cross-entropy/L.
 * @param logits (B, L, V)
 * @param targets i32 (B, L)
 * @returns a scalar
 */
export function tokenLoss(logits: Tensor, targets: Tensor, { labelSmoothing = 0 }: ObjectiveOptions = {}): Tensor {
  return mean(crossEntropy(...rows(logits, targets), { labelSmoothing }).losses)
}

/** Logit of the extra class where a token is known. */
const knownLogit = 10

/**
 * The sampler head's objective: cross-entropy over V + 1 classes, of which the last stands for a token that is known. An open
 * token has logit 0 there; a known one has 10 there and 0 elsewhere, so that it adds the constant log(1 + V·e⁻¹⁰). Summed
 * over the tokens, divided by `length` and averaged over the batch, as in the published program.
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

/** Loss without label smoothing and accuracy, over all scales, of the last and of each. Reads results back to the host. */
export function tokenMetrics(logits: Tensor, targets: Tensor, patchNums: readonly number[]): TokenMetrics {
  return noGrad(() =>
    scope(() => {
      const { losses, predictions } = crossEntropy(...rows(logits, targets))
      return summarise(losses.floats(), predictions.ints(), targets.ints(), patchNums)
    }),
  )
}

function summarise(
  losses: Float32Array,
  predictions: Int32Array,
  targets: Int32Array,
  patchNums: readonly number[],
): TokenMetrics {
  const scales = levels(patchNums)
  const length = scales[scales.length - 1].end
  const batch = losses.length / length
  const sums = scales.map(() => ({ loss: 0, right: 0 }))
  for (let b = 0; b < batch; b++) {
    scales.forEach(({ begin, end }, k) => {
      for (let i = b * length + begin; i < b * length + end; i++) {
        sums[k].loss += losses[i]
        if (predictions[i] === targets[i]) sums[k].right++
      }
    })
  }
  const perScale = sums.map(({ loss, right }, k) => {
    const count = batch * (scales[k].end - scales[k].begin)
    return { loss: loss / count, accuracy: (100 * right) / count }
  })
  const last = perScale[perScale.length - 1]
  return {
    Lm: sums.reduce((s, x) => s + x.loss, 0) / losses.length,
    Accm: (100 * sums.reduce((s, x) => s + x.right, 0)) / losses.length,
    Lt: last.loss,
    Acct: last.accuracy,
    perScale,
  }
}
