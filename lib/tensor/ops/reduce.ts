/** Sums, means and distances. All to one number gives a tensor of shape [] with one element. */
import { native, StarError } from '../../native/index.js'
import { record } from '../tape.js'
import { type Shape, Tensor } from '../tensor.js'

/** [] from a native result of one element. */
function scalar(flat: Tensor): Tensor {
  return new Tensor(flat.handle.reshape([]))
}

/** scale·dy in every place of a tensor of the given shape; dy has one element. */
function spread(dy: Tensor, shape: Shape, scale: number): Tensor {
  const value = scale === 1 ? dy : new Tensor(native.affine(dy.handle, null, scale, 0, 0))
  const ones = new Tensor(native.full(shape, dy.dtype, dy.device, 1))
  return new Tensor(native.binary(ones.handle, value.handle, 'mul', 1, 1, ones.count))
}

function scaledSum(name: string, x: Tensor, scale: number): Tensor {
  const y = scalar(new Tensor(native.reduce(x.handle, 'sum', 1, 1, x.count, scale)))
  const shape = x.shape
  record({ name, inputs: [x], outputs: [y], backward: (_, [dy]) => [spread(dy!, shape, scale)] })
  return y
}

/** Σ x → []. */
export function sum(x: Tensor): Tensor {
  return scaledSum('sum', x, 1)
}

/** Σ x / count → []. */
export function mean(x: Tensor): Tensor {
  return scaledSum('mean', x, 1 / x.count)
}

/** Sum over all axes but the last: (…, C) → (C). */
export function sumRows(x: Tensor): Tensor {
  if (x.rank === 0) throw new StarError('ERR_SHAPE', 'sumRows: x has shape (), expected one dimension or more')
  const cols = x.dim(-1)
  const shape = x.shape
  const y = new Tensor(native.reduce(x.handle, 'sum', cols === 0 ? 0 : x.count / cols, cols, 1, 1))
  record({
    name: 'sumRows',
    inputs: [x],
    outputs: [y],
    backward: (_, [dy]) => {
      const zero = new Tensor(native.full(shape, dy!.dtype, dy!.device, 0))
      return [new Tensor(native.binary(zero.handle, dy!.handle, 'add', cols === 0 ? 0 : zero.count / cols, cols, 1))]
    },
  })
  return y
}

function expectSame(op: string, a: Tensor, b: Tensor): void {
  if (a.count !== b.count)
    throw new StarError(
      'ERR_SHAPE',
      `${op}: b has shape (${b.shape.join(', ')}), expected that of a, (${a.shape.join(', ')})`,
    )
}

/** Σ a·b over tensors of one shape → []. */
export function mulSum(a: Tensor, b: Tensor): Tensor {
  expectSame('mulSum', a, b)
  const product = new Tensor(native.binary(a.handle, b.handle, 'mul', 1, a.count, 1))
  const y = scalar(new Tensor(native.reduce(product.handle, 'sum', 1, 1, a.count, 1)))
  product.dispose()
  record({
    name: 'mulSum',
    inputs: [a, b],
    outputs: [y],
    save: [a, b],
    backward: ([a, b], [dy], [needA, needB]) => {
      const times = (x: Tensor): Tensor => new Tensor(native.binary(x.handle, dy!.handle, 'mul', 1, 1, x.count))
      return [needA ? times(b) : null, needB ? times(a) : null]
    },
  })
  return y
}

/** mean (a − b)² → []; d/da = 2(a − b)/count. */
export function mse(a: Tensor, b: Tensor): Tensor {
  expectSame('mse', a, b)
  const scale = 1 / a.count
  const difference = new Tensor(native.affine(a.handle, b.handle, 1, -1, 0))
  const y = scalar(new Tensor(native.reduce(difference.handle, 'sumSquares', 1, 1, a.count, scale)))
  distanceNode('mse', a, b, y, difference, (d, dy) => {
    const slope = new Tensor(native.affine(d.handle, null, 2 * scale, 0, 0))
    return new Tensor(native.binary(slope.handle, dy.handle, 'mul', 1, 1, d.count))
  })
  return y
}

/** mean |a − b| → []; the gradient is 0 where a = b. */
export function mae(a: Tensor, b: Tensor): Tensor {
  expectSame('mae', a, b)
  const scale = 1 / a.count
  const difference = new Tensor(native.affine(a.handle, b.handle, 1, -1, 0))
  const y = scalar(new Tensor(native.reduce(difference.handle, 'sumAbs', 1, 1, a.count, scale)))
  distanceNode(
    'mae',
    a,
    b,
    y,
    difference,
    (d, dy) => new Tensor(native.unaryBackward(spread(dy, d.shape, scale).handle, d.handle, 'abs', 0, 0)),
  )
  return y
}

/** Records y = f(a − b), whose gradient in a is slope(a − b, dy) and in b its negative. */
function distanceNode(
  name: string,
  a: Tensor,
  b: Tensor,
  y: Tensor,
  difference: Tensor,
  slope: (d: Tensor, dy: Tensor) => Tensor,
): void {
  const [aShape, bShape] = [a.shape, b.shape]
  record({
    name,
    inputs: [a, b],
    outputs: [y],
    save: [difference],
    backward: ([difference], [dy], [needA, needB]) => {
      const da = slope(difference, dy!)
      const db = needB ? new Tensor(native.affine(da.handle, null, -1, 0, 0)) : null
      return [needA ? new Tensor(da.handle.reshape(aShape)) : null, db && new Tensor(db.handle.reshape(bShape))]
    },
  })
  difference.dispose()
}

/** The largest element → []; NaN when there is one. No gradient. */
export function max(x: Tensor): Tensor {
  return scalar(new Tensor(native.reduce(x.handle, 'max', 1, 1, x.count, 1)))
}
