/** Resampling of NHWC images: nearest neighbour ×2, area averages, bicubic. */
import { native } from '../../native/index.js'
import type { ResampleKind } from '../../native/ops/resample.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

function resample(x: Tensor, kind: ResampleKind, oh: number, ow: number): Tensor {
  const y = new Tensor(native.resample(x.handle, kind, oh, ow))
  const [, h, w] = x.shape
  record({
    name: kind,
    inputs: [x],
    outputs: [y],
    backward: (_, [dy]) => [new Tensor(native.resampleBackward(dy!.handle, kind, h, w))],
  })
  return y
}

/** Every pixel becomes 2×2: (n, h, w, c) → (n, 2h, 2w, c). */
export function upsampleNearest(x: Tensor): Tensor {
  return resample(x, 'nearest2x', 2 * x.dim(1), 2 * x.dim(2))
}

/**
 * Adaptive average pooling: output row i is the mean of input rows [⌊i·h/oh⌋, ⌈(i+1)·h/oh⌉), columns alike.
 * @param x (n, h, w, c)
 * @returns (n, oh, ow, c)
 */
export function areaPool(x: Tensor, oh: number, ow: number): Tensor {
  return resample(x, 'area', oh, ow)
}

/**
 * Bicubic interpolation with a = −0.75 (Keys 1981), pixel centres at half integers, borders repeated, no antialiasing.
 * @param x (n, h, w, c)
 * @returns (n, oh, ow, c)
 */
export function bicubic(x: Tensor, oh: number, ow: number): Tensor {
  return resample(x, 'bicubic', oh, ow)
}
