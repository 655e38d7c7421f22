/** Matrix products and the linear layer's arithmetic. */
import { native } from '../../native/index.js'
import { needsGrad, record } from '../tape.js'
import { Tensor } from '../tensor.js'

export interface MatmulOptions {
  /** Take the last two dimensions of a (b) swapped. */
  transA?: boolean
  transB?: boolean
}

/**
 * c = op(a)·op(b) on the last two dimensions, op the transpose where asked.
 * @param a (…, M, K), or (…, K, M) with transA
 * @param b (…, K, N), or (…, N, K) with transB
 * Batch dimensions are equal, or one of the two is a single matrix that serves the whole batch.
 * @returns (…, M, N); an empty inner dimension gives zeros
 * @throws ERR_SHAPE when the shapes do not fit each other
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transA = false, transB = false } = options
  const c = new Tensor(native.matmul(a.handle, b.handle, transA, transB))
  const batched = Math.max(a.rank, b.rank) > 2
  // Gradients of a matrix that served a batch are summed over the batch.
  const productA = batched && a.rank === 2 ? native.matmulSum : native.matmul
  const productB = batched && b.rank === 2 ? native.matmulSum : native.matmul
  record({
    name: 'matmul',
    inputs: [a, b],
    outputs: [c],
    save: [a, b],
    backward: ([a, b], [dc], [needsA, needsB]) => {
      const [ha, hb, hc] = [a.handle, b.handle, dc!.handle]
      const da = needsA && (transA ? productA(hb, hc, transB, true) : productA(hc, hb, false, !transB))
      const db = needsB && (transB ? productB(hc, ha, true, transA) : productB(ha, hc, !transA, false))
      return [da ? new Tensor(da) : null, db ? new Tensor(db) : null]
    },
  })
  return c
}

export interface LinearOptions {
  /** Apply gelu (tanh form) to the result. */
  gelu?: boolean
}

/**
 * y = act(x·wᵀ + bias), act the identity or gelu.
 * @param x (…, K)
 * @param w (N, K)
 * @param bias (N), or null
 * @returns (…, N)
 * @throws ERR_SHAPE when the shapes do not fit each other
 */
export function linear(x: Tensor, w: Tensor, bias: Tensor | null = null, options: LinearOptions = {}): Tensor {
  const gelu = options.gelu ?? false
  const differentiable = needsGrad(x, w, bias)
  const [y, sum] = native.linear(x.handle, w.handle, bias?.handle ?? null, gelu, gelu && differentiable)
  const output = new Tensor(y)
  if (!differentiable) return output
  record({
    name: 'linear',
    inputs: [x, w, bias],
    outputs: [output],
    save: [x, w, sum && new Tensor(sum)],
    backward: ([x, w, sum], [dy], needs) => {
      const grad = sum ? new Tensor(native.unaryBackward(dy!.handle, sum.handle, 'gelu', 0, 0)) : dy!
      const n = w.shape[0]
      return [
        needs[0] ? new Tensor(native.linearBackwardInput(grad.handle, w.handle)) : null,
        needs[1] ? new Tensor(native.linearBackwardWeight(grad.handle, x.handle)) : null,
        needs[2] ? new Tensor(native.reduce(grad.handle, 'sum', grad.count / Math.max(1, n), n, 1, 1)) : null,
      ]
    },
  })
  return output
}
