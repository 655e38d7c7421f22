/** Elementwise arithmetic with broadcasting, functions of one argument, fills and casts. */
import { native, StarError } from '../../native/index.js'
import type { BinaryName, UnaryName } from '../../native/ops/elementwise.js'
import { scope } from '../scope.js'
import { needsGrad, record } from '../tape.js'
import { type DType, getDefaultDevice, type Shape, Tensor, type TensorOptions } from '../tensor.js'

/** How b meets a: a is read as (outer, mid, inner) and element m of b meets a[:, m, :]. */
interface Broadcast {
  outer: number
  mid: number
  inner: number
}

const product = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1)

function broadcastOf(a: Shape, b: Shape): Broadcast | null {
  const count = product(a)
  if (a.length === b.length && a.every((d, i) => d === b[i])) return { outer: 1, mid: count, inner: 1 }
  if (product(b) === 1) return { outer: 1, mid: 1, inner: count }
  // Of b without the ones at its ends a run of axes of a remains. It is looked for where equal ranks put it, else at the end,
  // else at the start of a.
  let first = 0
  let last = b.length
  while (first < last && b[first] === 1) first++
  while (last > first && b[last - 1] === 1) last--
  const at = (offset: number): Broadcast | null => {
    const begin = first + offset
    if (begin < 0 || begin + last - first > a.length) return null
    for (let i = first; i < last; i++) if (a[i + offset] !== b[i]) return null
    return {
      outer: product(a.slice(0, begin)),
      mid: product(a.slice(begin, last + offset)),
      inner: product(a.slice(last + offset)),
    }
  }
  if (a.length === b.length) return at(0)
  return at(a.length - b.length) ?? (b.length < a.length ? at(0) : null)
}

/** The sum of `t`, read as (outer, mid, inner), over outer and inner, with the given shape. */
function sumTo(t: Tensor, { outer, mid, inner }: Broadcast, shape: Shape, scale = 1): Tensor {
  const flat = new Tensor(native.reduce(t.handle, 'sum', outer, mid, inner, scale))
  return new Tensor(flat.handle.reshape(shape))
}

function binary(op: BinaryName, a: Tensor, b: Tensor): Tensor {
  const fit = broadcastOf(a.shape, b.shape)
  if (!fit)
    throw new StarError(
      'ERR_SHAPE',
      `${op}: b has shape (${b.shape.join(', ')}), expected that of a, (${a.shape.join(', ')}), its last axes, ` +
        'its first axes (followed by ones if you like) or one element',
    )
  const { outer, mid, inner } = fit
  const combine = (x: Tensor, y: Tensor, by: BinaryName): Tensor =>
    new Tensor(native.binary(x.handle, y.handle, by, outer, mid, inner))
  const y = combine(a, b, op)
  const same = outer * inner === 1 && a.rank === b.rank
  // The gradient of b before it is summed over the places where b was used.
  const spread = (dy: Tensor, scale: number): Tensor =>
    same ? (scale === 1 ? dy : new Tensor(native.affine(dy.handle, null, scale, 0, 0))) : sumTo(dy, fit, b.shape, scale)
  const product = op === 'mul' || op === 'div'
  record({
    name: op,
    inputs: [a, b],
    outputs: [y],
    save: product ? [needsGrad(b) ? a : null, op === 'div' || needsGrad(a) ? b : null] : [],
    backward: ([a, b], [dy], [needA, needB]) => {
      switch (op) {
        case 'add':
          return [dy, needB ? spread(dy!, 1) : null]
        case 'sub':
          return [dy, needB ? spread(dy!, -1) : null]
        case 'mul':
          return [
            needA ? combine(dy!, b, 'mul') : null,
            needB ? spread(new Tensor(native.binary(dy!.handle, a.handle, 'mul', 1, dy!.count, 1)), 1) : null,
          ]
        case 'div': {
          const da = combine(dy!, b, 'div')
          if (!needB) return [da, null]
          // d(a/b)/db = −a/b² = −(da·a)/b with da = dy/b, and b is constant over each sum.
          const total = spread(new Tensor(native.binary(da.handle, a.handle, 'mul', 1, da.count, 1)), -1)
          return [needA ? da : null, new Tensor(native.binary(total.handle, b.handle, 'div', 1, b.count, 1))]
        }
      }
    },
  })
  return y
}

/**
 * a + b. b has the shape of a, or that of its last axes (a bias), or of its first axes, followed by ones or not (a value per
 * sample), or one element; or is a number. Where a fits b in this way instead, the two change places.
 * @throws ERR_SHAPE when the shapes do not fit
 */
export function add(a: Tensor, b: Tensor | number): Tensor {
  if (typeof b === 'number') return affine(a, null, 1, 0, b)
  return broadcastOf(a.shape, b.shape) || !broadcastOf(b.shape, a.shape) ? binary('add', a, b) : binary('add', b, a)
}

/** a − b, with shapes as in `add`, except that b is not larger than a. */
export function sub(a: Tensor, b: Tensor | number): Tensor {
  return typeof b === 'number' ? affine(a, null, 1, 0, -b) : binary('sub', a, b)
}

/** a·b elementwise, with shapes as in `add`. */
export function mul(a: Tensor, b: Tensor | number): Tensor {
  if (typeof b === 'number') return affine(a, null, b, 0, 0)
  return broadcastOf(a.shape, b.shape) || !broadcastOf(b.shape, a.shape) ? binary('mul', a, b) : binary('mul', b, a)
}

/** a / b elementwise, with shapes as in `sub`. */
export function div(a: Tensor, b: Tensor | number): Tensor {
  return typeof b === 'number' ? affine(a, null, 1 / b, 0, 0) : binary('div', a, b)
}

/** alpha·a + beta·b + gamma in one pass; b has the shape of a, or is null. */
export function affine(a: Tensor, b: Tensor | null, alpha: number, beta: number, gamma: number): Tensor {
  const y = new Tensor(native.affine(a.handle, b?.handle ?? null, alpha, beta, gamma))
  const bShape = b?.shape
  record({
    name: 'affine',
    inputs: [a, b],
    outputs: [y],
    backward: (_, [dy], [needA, needB]) => {
      const times = (scale: number): Tensor =>
        scale === 1 ? dy! : new Tensor(native.affine(dy!.handle, null, scale, 0, 0))
      if (!needB) return [times(alpha), null]
      const db = times(beta)
      return [
        needA ? times(alpha) : null,
        db === dy || db.shape.join() === bShape!.join() ? db : new Tensor(db.handle.reshape(bShape!)),
      ]
    },
  })
  return y
}

function unary(op: UnaryName, x: Tensor, p0 = 0, p1 = 0): Tensor {
  const y = new Tensor(native.unary(x.handle, op, p0, p1))
  record({
    name: op,
    inputs: [x],
    outputs: [y],
    save: [x],
    backward: ([x], [dy]) => [new Tensor(native.unaryBackward(dy!.handle, x.handle, op, p0, p1))],
  })
  return y
}

/** x·sigmoid(x). */
export const silu = (x: Tensor): Tensor => unary('silu', x)
/** GELU in its tanh form: x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))). */
export const gelu = (x: Tensor): Tensor => unary('gelu', x)
/** GELU itself, x·Φ(x) with Φ the normal distribution function (the "erf form"). */
export const geluErf = (x: Tensor): Tensor => unary('geluErf', x)
/** max(x, 0). */
export const relu = (x: Tensor): Tensor => unary('relu', x)
/** x where it is positive, slope·x elsewhere. */
export const leakyRelu = (x: Tensor, slope: number): Tensor => unary('leakyRelu', x, slope)
export const tanh = (x: Tensor): Tensor => unary('tanh', x)
/** 1 / (1 + e^−x). */
export const sigmoid = (x: Tensor): Tensor => unary('sigmoid', x)
export const exp = (x: Tensor): Tensor => unary('exp', x)
/** Natural logarithm: −∞ at 0, NaN below. */
export const log = (x: Tensor): Tensor => unary('log', x)
/** |x|, with gradient 0 at 0. */
export const abs = (x: Tensor): Tensor => unary('abs', x)
export const square = (x: Tensor): Tensor => unary('square', x)
export const sqrt = (x: Tensor): Tensor => unary('sqrt', x)
/** 1 / x. */
export const reciprocal = (x: Tensor): Tensor => unary('reciprocal', x)
/** x limited to [low, high]; the gradient passes where x lies within, ends included. */
export const clamp = (x: Tensor, low: number, high: number): Tensor => unary('clamp', x, low, high)

/** x as another element type: rounded to nearest even towards f16 and bf16, cut towards zero and limited towards i32 and u8. */
export function cast(x: Tensor, dtype: DType): Tensor {
  const y = new Tensor(x.dtype === dtype ? x.handle.alias() : native.cast(x.handle, dtype))
  const from = x.dtype
  if (dtype !== 'i32' && dtype !== 'u8')
    record({
      name: 'cast',
      inputs: [x],
      outputs: [y],
      backward: (_, [dy]) => [dy!.dtype === from ? dy : new Tensor(native.cast(dy!.handle, from))],
    })
  return y
}

/** f32: 1 where the elements of two i32 tensors of one shape are equal, else 0. Exact below 2^24; not differentiable. */
export function equal(a: Tensor, b: Tensor): Tensor {
  return scope(() => affine(clamp(abs(sub(cast(a, 'f32'), cast(b, 'f32'))), 0, 1), null, -1, 0, 1))
}

/** A tensor with `value` in every place. */
export function full(shape: Shape, value: number, options: TensorOptions = {}): Tensor {
  const y = new Tensor(native.full(shape, options.dtype ?? 'f32', options.device ?? getDefaultDevice(), value))
  y.requiresGrad = options.requiresGrad ?? false
  return y
}
export const zeros = (shape: Shape, options: TensorOptions = {}): Tensor => full(shape, 0, options)
export const ones = (shape: Shape, options: TensorOptions = {}): Tensor => full(shape, 1, options)

/** y += scale·x in place; the tape does not see it. */
export function addInto(y: Tensor, x: Tensor, scale = 1): void {
  native.affineInto(y.handle, y.handle, x.handle, 1, scale, 0)
}
