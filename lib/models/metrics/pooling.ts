/** The poolings of Inception, made of other ops: windows of 3×3 over NHWC images. */
import {
  add,
  concat,
  conv2d,
  div,
  full,
  relu,
  reshape,
  scope,
  slice,
  sub,
  type Tensor,
  zeros,
} from '../../tensor/index.js'

/** max(a, b), rounded in the last place where a is larger. */
const larger = (a: Tensor, b: Tensor): Tensor => add(b, relu(sub(a, b)))

/** The largest of three neighbours along an axis, at every place or at every second one. */
function largestOfThree(x: Tensor, axis: 1 | 2, stride: 1 | 2): Tensor {
  return scope(() => {
    const count = Math.floor((x.dim(axis) - 3) / stride) + 1
    if (stride === 1) {
      const [first, second, third] = [0, 1, 2].map((begin) => slice(x, axis, begin, begin + count))
      return larger(larger(first, second), third)
    }
    // Of neighbours 2i, 2i + 1, 2i + 2 the first is that of pairs from 0 on, the others are both of pairs from 1 on.
    const shape = [...x.shape]
    shape.splice(axis, 1, count)
    const pairs = (begin: number): Tensor[] => {
      const paired = [...x.shape]
      paired.splice(axis, 1, count, 2)
      const all = reshape(slice(x, axis, begin, begin + 2 * count), paired)
      return [0, 1].map((place) => reshape(slice(all, axis + 1, place, place + 1), shape))
    }
    const [first] = pairs(0)
    const [second, third] = pairs(1)
    return larger(larger(first, second), third)
  })
}

/** Zeros around images. */
function padded(x: Tensor): Tensor {
  const [n, h, , c] = x.shape
  const { device } = x
  const column = zeros([n, h, 1, c], { device })
  const wide = concat([column, x, column], 2)
  const row = zeros([n, 1, wide.dim(2), c], { device })
  return concat([row, wide, row], 1)
}

/**
 * Maximum of 3×3 windows of values that are not negative: (n, h, w, c) → (n, ⌊(h − 3)/2⌋ + 1, …, c) with stride 2, the same shape
 * with stride 1, whose windows hang over the edge.
 */
export function maxPool3(x: Tensor, stride: 1 | 2): Tensor {
  return scope(() => largestOfThree(largestOfThree(stride === 1 ? padded(x) : x, 1, stride), 2, stride))
}

/** Mean of those of the 3×3 pixels around each that are in the image: (n, h, w, c) → the same shape. */
export function averagePool3(x: Tensor): Tensor {
  return scope(() => {
    const [, h, w, c] = x.shape
    const { device } = x
    const ones = full([c, 1, 3, 3], 1, { device })
    const sums = (image: Tensor): Tensor => conv2d(image, ones, null, { padding: 1, groups: c })
    return div(sums(x), reshape(sums(full([1, h, w, c], 1, { device })), [h, w, c]))
  })
}
