/** Changes of shape and order: reshape, slice, concat, permute. Any dtype. */
import { native, StarError } from '../../native/index.js'
import { record } from '../tape.js'
import { countOf, type Shape, Tensor } from '../tensor.js'

function axisOf(op: string, axis: number, rank: number): number {
  const index = axis < 0 ? axis + rank : axis
  if (!Number.isInteger(axis) || index < 0 || index >= rank)
    throw new StarError('ERR_SHAPE', `${op}: axis is ${axis}, expected a whole number from ${-rank} to ${rank - 1}`)
  return index
}

/**
 * The same elements in another shape, sharing memory; one dimension may be −1 and follows from the others.
 * @throws ERR_SHAPE when the counts differ
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const open = shape.indexOf(-1)
  let target = shape
  if (open >= 0) {
    const known = countOf(shape.filter((_, i) => i !== open))
    const size = known === 0 ? 0 : x.count / known
    if (!Number.isInteger(size) || shape.includes(-1, open + 1))
      throw new StarError(
        'ERR_SHAPE',
        `reshape: (${x.shape.join(', ')}) does not fit (${shape.join(', ')}), expected ${x.count} elements and one -1 at most`,
      )
    target = shape.with(open, size)
  }
  const y = new Tensor(x.handle.reshape(target))
  const from = x.shape
  record({ name: 'reshape', inputs: [x], outputs: [y], backward: (_, [dy]) => [new Tensor(dy!.handle.reshape(from))] })
  return y
}

/**
 * Elements [start, end) of one axis; negative numbers count from its end. A slice of the first axis (or behind axes of size 1)
 * shares memory with x, any other is a copy.
 */
export function slice(x: Tensor, axis: number, start: number, end: number = Number.POSITIVE_INFINITY): Tensor {
  const at = axisOf('slice', axis, x.rank)
  const size = x.shape[at]
  const begin = start < 0 ? start + size : start
  const stop = end === Number.POSITIVE_INFINITY ? size : end < 0 ? end + size : end
  if (!Number.isInteger(begin) || !Number.isInteger(stop) || begin < 0 || stop < begin || stop > size)
    throw new StarError('ERR_SHAPE', `slice: [${start}, ${end}) lies outside axis ${axis} of (${x.shape.join(', ')})`)
  const shape = x.shape
  let y: Tensor
  if (countOf(shape.slice(0, at)) === 1) {
    const rows = new Tensor(x.handle.reshape(shape.slice(at)))
    const part = new Tensor(rows.handle.slice(begin, stop))
    y = at === 0 ? part : new Tensor(part.handle.reshape([...shape.slice(0, at), ...part.shape]))
    rows.dispose()
    if (y !== part) part.dispose()
  } else y = new Tensor(native.sliceAxis(x.handle, at, begin, stop))
  record({
    name: 'slice',
    inputs: [x],
    outputs: [y],
    backward: (_, [dy]) => {
      const dx = new Tensor(native.full(shape, dy!.dtype, dy!.device, 0))
      native.copyInto(dx.handle, dy!.handle, at, begin)
      return [dx]
    },
  })
  return y
}

/** Tensors one after the other along an axis; all other axes agree. */
export function concat(xs: readonly Tensor[], axis: number): Tensor {
  if (xs.length === 0) throw new StarError('ERR_SHAPE', 'concat: the list is empty, expected one tensor or more')
  const at = axisOf('concat', axis, xs[0].rank)
  const y = new Tensor(
    native.concat(
      xs.map((x) => x.handle),
      at,
    ),
  )
  const sizes = xs.map((x) => x.shape[at])
  record({
    name: 'concat',
    inputs: xs,
    outputs: [y],
    backward: (_, [dy], needs) => {
      let start = 0
      return sizes.map((size, i) => {
        const begin = start
        start += size
        return needs[i] ? new Tensor(native.sliceAxis(dy!.handle, at, begin, start)) : null
      })
    },
  })
  return y
}

/** Overwrites [start, start + size of x) of an axis of y in place; all other axes agree. The tape does not see it. */
export function writeAlong(y: Tensor, x: Tensor, axis: number, start: number): void {
  native.copyInto(y.handle, x.handle, axisOf('writeAlong', axis, y.rank), start)
}

/** Axis i of the result is axis perm[i] of x. */
export function permute(x: Tensor, perm: readonly number[]): Tensor {
  const y = new Tensor(native.permute(x.handle, perm))
  const inverse = perm.map((_, i) => perm.indexOf(i))
  record({
    name: 'permute',
    inputs: [x],
    outputs: [y],
    backward: (_, [dy]) => [new Tensor(native.permute(dy!.handle, inverse))],
  })
  return y
}
