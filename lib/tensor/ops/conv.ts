/** Two-dimensional convolution of NHWC images. */
import { native } from '../../native/index.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

/** Rows and columns of zeros around the image: the same on all sides, or [top, left, bottom, right]. */
export type Padding = number | readonly [number, number, number, number]

export interface Conv2dOptions {
  stride?: number
  padding?: Padding
  /** Groups of channels: the outputs of a group see its inputs only. I groups with O = I are a depthwise convolution. Default 1. */
  groups?: number
}

/**
 * y[n, i, j, o] = bias[o] + Σ x[n, i·stride + u − top, j·stride + v − left, first + c] · weight[o, c, u, v], zero outside the image;
 * the sum goes over the I/groups channels c of the group that o belongs to, whose first one is first = ⌊o·groups/O⌋·I/groups.
 * @param x (N, H, W, I)
 * @param weight (O, I/groups, KH, KW), as in the files
 * @param bias (O), or null
 * @returns (N, (H + top + bottom − KH)/stride + 1, (W + left + right − KW)/stride + 1, O), divisions rounded down
 * @throws ERR_SHAPE when the shapes do not fit each other
 */
export function conv2d(x: Tensor, weight: Tensor, bias: Tensor | null = null, options: Conv2dOptions = {}): Tensor {
  const { stride = 1, padding = 0, groups = 1 } = options
  const pads = typeof padding === 'number' ? [padding, padding, padding, padding] : padding
  const y = new Tensor(native.conv2d(x.handle, weight.handle, bias?.handle ?? null, stride, pads, groups))
  const [, h, w] = x.shape
  const [, , kh, kw] = weight.shape
  record({
    name: 'conv2d',
    inputs: [x, weight, bias],
    outputs: [y],
    save: [x, weight],
    backward: ([x, weight], [dy], needs) => {
      const dx = needs[0]
        ? new Tensor(native.conv2dBackwardData(dy!.handle, weight.handle, h, w, stride, pads, groups))
        : null
      if (!needs[1] && !needs[2]) return [dx, null, null]
      const [dweight, dbias] = native.conv2dBackwardWeight(dy!.handle, x.handle, kh, kw, needs[2], stride, pads, groups)
      return [dx, new Tensor(dweight), dbias && new Tensor(dbias)]
    },
  })
  return y
}
