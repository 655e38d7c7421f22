/** Cross-entropy of logits against class indices. */
import { native, StarError } from '../../native/index.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

/**
 * losses[i] = log Σ_v exp z_i[v] − (1 − ls)·z_i[t_i] − ls·mean_v z_i[v], the loss of each row on its own.
 * @param logits z (N, V)
 * @param targets t, i32 with N elements in [0, V)
 * @param options labelSmoothing: ls in [0, 1), 0 when not given; extraClass: the sum of exponentials counts a class of logit 0
 * beyond the V columns, which no target names
 * @returns losses (N), differentiable in the logits; and of the V columns alone, without smoothing and not differentiable:
 * nll (N) = log Σ_v exp z_i[v] − z_i[t_i], and predictions i32 (N): the most probable index, the lowest on a tie
 * @throws ERR_ARGUMENT for a target outside the vocabulary
 */
export function crossEntropy(
  logits: Tensor,
  targets: Tensor,
  options: { labelSmoothing?: number; extraClass?: boolean } = {},
): { losses: Tensor; nll: Tensor; predictions: Tensor } {
  const smoothing = options.labelSmoothing ?? 0
  if (!(smoothing >= 0 && smoothing < 1))
    throw new StarError(
      'ERR_ARGUMENT',
      `crossEntropy: labelSmoothing is ${smoothing}, expected a number from 0 to below 1`,
    )
  const [losses, lse, predictions, nll] = native
    .crossEntropy(logits.handle, targets.handle, smoothing, options.extraClass ?? false)
    .map((h) => new Tensor(h))
  record({
    name: 'crossEntropy',
    inputs: [logits],
    outputs: [losses],
    save: [logits, lse, targets],
    backward: ([logits, lse, targets], [dlosses]) => [
      new Tensor(native.crossEntropyBackward(dlosses!.handle, logits.handle, lse.handle, targets.handle, smoothing)),
    ],
  })
  lse.dispose()
  return { losses, nll, predictions }
}
