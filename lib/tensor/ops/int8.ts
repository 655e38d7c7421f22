/** Matrices in 8 bits, a scale a row, and the linear layer on them. */

import type { DType } from '../../native/dtype.js'
import { native } from '../../native/index.js'
import { needsGrad, record } from '../tape.js'
import { Tensor } from '../tensor.js'
import { gelu as applyGelu } from './elementwise.js'

/** Name of the scales beside an 8-bit matrix, in modules and in files. */
export const scaleName = (matrix: string): string => `${matrix}_scale`

/** x[r, c] ≈ q[r, c]·scale[r] */
export interface Int8Matrix {
  /** i8 (N, K), whole numbers from −127 to 127 */
  q: Tensor
  /** f32 (N) */
  scale: Tensor
}

/**
 * Rows in 8 bits, symmetric: scale[r] = max |x[r]| / 127 and q = round(x / scale), ties to even. A row whose largest element is
 * below 1e-30 becomes zeros, one with an infinity or NaN has the scale NaN. Not recorded on the tape.
 * @param x (N, K), a float type
 * @returns q i8 (N, K), scale f32 (N)
 * @throws ERR_SHAPE for another rank, ERR_DTYPE for another type
 */
export function quantizeRows(x: Tensor): Int8Matrix {
  const [q, scale] = native.quantizeRows(x.handle)
  return { q: new Tensor(q), scale: new Tensor(scale) }
}

/**
 * q·scale: (N, K) in a float type. Not recorded on the tape.
 * @throws ERR_SHAPE when scale is not (N), ERR_DTYPE for other types
 */
export function dequantizeRows({ q, scale }: Int8Matrix, dtype: DType = 'f32'): Tensor {
  return new Tensor(native.dequantizeRows(q.handle, scale.handle, dtype))
}

/**
 * y = act(x̂·(q·scale)ᵀ + bias), act the identity or gelu (tanh form), x̂ the rows of x in 8 bits as `quantizeRows` makes them:
 * products and sums of whole numbers, so that a row of y depends on its own row of x alone. The matrix gets no gradient; that of x
 * takes rounding for the identity (the straight-through estimator, arXiv 1308.3432): dx = dy·(q·scale).
 * @param x (…, K), a float type
 * @param bias (N) of the type of x, or null
 * @returns (…, N) of the type of x
 * @throws ERR_SHAPE when the shapes do not fit each other, ERR_DTYPE for other types
 */
export function linearInt8(
  x: Tensor,
  { q, scale }: Int8Matrix,
  bias: Tensor | null = null,
  options: { gelu?: boolean } = {},
): Tensor {
  const gelu = options.gelu ?? false
  const differentiable = needsGrad(x, bias)
  const y = new Tensor(
    native.linearInt8(x.handle, q.handle, scale.handle, bias?.handle ?? null, gelu && !differentiable),
  )
  if (!differentiable) return y
  record({
    name: 'linearInt8',
    inputs: [x, bias],
    outputs: [y],
    save: [q, scale],
    backward: ([q, scale], [dy], [needsX, needsBias]) => {
      const n = q.dim(0)
      const dbias = needsBias ? new Tensor(native.reduce(dy!.handle, 'sum', dy!.count / Math.max(1, n), n, 1, 1)) : null
      if (!needsX) return [null, dbias]
      const weight = dequantizeRows({ q, scale }, dy!.dtype)
      const dx = new Tensor(native.linearBackwardInput(dy!.handle, weight.handle, null))
      weight.dispose()
      return [dx, dbias]
    },
  })
  return gelu ? applyGelu(y) : y
}
