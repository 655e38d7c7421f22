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
    backward: ([x, w, sum], [dy], [needsX, needsW, needsBias]) => {
      const grad = sum ? new Tensor(native.unaryBackward(dy!.handle, sum.handle, 'gelu', 0, 0)) : dy!
      return [
        needsX ? new Tensor(native.linearBackwardInput(grad.handle, w.handle, null)) : null,
        ...weightGradients(grad, x, needsW, needsBias),
      ]
    },
  })
  return output
}

/** [dw, dbias] of y = x·wᵀ + bias. */
function weightGradients(
  dy: Tensor,
  x: Tensor,
  needsWeight = false,
  needsBias = false,
): [Tensor | null, Tensor | null] {
  if (needsWeight) {
    const [dw, dbias] = native.linearBackwardWeight(dy.handle, x.handle, needsBias)
    return [new Tensor(dw), dbias && new Tensor(dbias)]
  }
  const n = dy.shape.at(-1)!
  return [null, needsBias ? new Tensor(native.reduce(dy.handle, 'sum', dy.count / Math.max(1, n), n, 1, 1)) : null]
}

export interface FeedForwardWeights {
  /** (H, K) */
  w1: Tensor
  /** (H), or null */
  b1: Tensor | null
  /** (N, H) */
  w2: Tensor
  /** (N), or null */
  b2: Tensor | null
}

/**
 * y = gelu(x·w1ᵀ + b1)·w2ᵀ + b2, gelu in its tanh form: two linear layers as one op, so that the backward multiplies with
 * gelu's derivative within the matrix product.
 * @param x (…, K)
 * @returns (…, N)
 * @throws ERR_SHAPE when the shapes do not fit each other
 */
export function feedForward(x: Tensor, { w1, b1, w2, b2 }: FeedForwardWeights): Tensor {
  const differentiable = needsGrad(x, w1, b1, w2, b2)
  const [first, sum] = native.linear(x.handle, w1.handle, b1?.handle ?? null, true, differentiable)
  const hidden = new Tensor(first)
  const output = new Tensor(native.linear(hidden.handle, w2.handle, b2?.handle ?? null, false, false)[0])
  const kept = sum && new Tensor(sum)
  record({
    name: 'feedForward',
    inputs: [x, w1, b1, w2, b2],
    outputs: [output],
    save: [x, w1, w2, hidden, kept],
    backward: ([x, w1, w2, hidden, sum], [dy], [needsX, needsW1, needsB1, needsW2, needsB2]) => {
      const [dw2, db2] = weightGradients(dy!, hidden, needsW2, needsB2)
      if (!needsX && !needsW1 && !needsB1) return [null, null, null, dw2, db2]
      const dsum = new Tensor(native.linearBackwardInput(dy!.handle, w2.handle, sum.handle))
      const [dw1, db1] = weightGradients(dsum, x, needsW1, needsB1)
      const dx = needsX ? new Tensor(native.linearBackwardInput(dsum.handle, w1.handle, null)) : null
      return [dx, dw1, db1, dw2, db2]
    },
  })
  // From here on the tape's references alone keep these two.
  hidden.dispose()
  kept?.dispose()
  return output
}
