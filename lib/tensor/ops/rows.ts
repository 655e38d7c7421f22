/** Rows of each sample by position: how far they are from a point, which ones, taken out, and put back. Nothing here is recorded on the tape. */
import { native } from '../../native/index.js'
import { Tensor } from '../tensor.js'

/**
 * y[b, i] = ‖x[b, i] − center[b]‖², added up in f32.
 * @param x (B, l, C), a float type
 * @param center (B, C), the same type
 * @returns f32 (B, l)
 */
export function rowDistances(x: Tensor, center: Tensor): Tensor {
  return new Tensor(native.rowDistances(x.handle, center.handle))
}

/**
 * The positions with the highest scores of each row, the lowest position first on a tie, in rising order.
 * @param score f32 (N, l); not a number counts as −∞
 * @param keep k, from 0 to l
 * @returns i32 (N, k)
 * @throws ERR_ARGUMENT for another k
 */
export function topPositions(score: Tensor, keep: number): Tensor {
  return new Tensor(native.topPositions(score.handle, keep))
}

/**
 * y[b, i] = x[b, positions[b, i]].
 * @param x (B, l, C), any type
 * @param positions i32 (B, k)
 * @returns (B, k, C)
 * @throws ERR_ARGUMENT for a position outside of [0, l)
 */
export function gatherRows(x: Tensor, positions: Tensor): Tensor {
  return new Tensor(native.gatherRows(x.handle, positions.handle))
}

/**
 * y[b, positions[b, i]] = x[b, i] in place; the other rows stay. Positions of a sample differ from each other.
 * @param y (B, l, C), any type
 * @param x (B, k, C), the same type
 * @param positions i32 (B, k)
 * @throws ERR_ARGUMENT for a position outside of [0, l)
 */
export function scatterRows(y: Tensor, x: Tensor, positions: Tensor): void {
  native.scatterRows(y.handle, x.handle, positions.handle)
}
