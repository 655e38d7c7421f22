/** φ, the convolutions that smooth each scale's contribution to f̂. */
import { Conv2d, type LayerOptions, Module } from '../../nn/index.js'
import { affine, type Tensor } from '../../tensor/index.js'
import type { TokenizerConfig } from './config.js'

/**
 * The convolutions that smooth a looked-up, enlarged token map: φ(x) = (1 − ratio)·x + ratio·conv3×3(x).
 * K scales share K′ of them: scale k takes the one whose tick is nearest to k/(K−1), ticks evenly from 1/(3K′) to
 * 1 − 1/(3K′) when K′ = 4 and from 1/(2K′) to 1 − 1/(2K′) otherwise.
 */
export class Phi extends Module {
  readonly convs: Conv2d[]
  /** Which convolution each scale takes. */
  readonly choice: readonly number[]
  readonly #ratio: number

  constructor(config: TokenizerConfig, init: Pick<LayerOptions, 'init' | 'device'>) {
    super()
    const scales = config.patchNums.length
    const count = config.phi === 'per-scale' ? scales : config.phi
    const name = (i: number): string => (config.phi === 'per-scale' ? `${i}` : count === 1 ? 'qresi' : `qresi_ls.${i}`)
    const conv = (): Conv2d => new Conv2d(config.latentChannels, config.latentChannels, { ...init, kernel: 3 })
    this.convs = Array.from({ length: count }, (_, i) => this.child(name(i), conv()))
    this.choice = config.patchNums.map((_, k) => nearestTick(scales > 1 ? k / (scales - 1) : 0, count))
    this.#ratio = config.phiRatio
  }

  /** x (B, h, w, Z) → the same shape, for scale k */
  forward(x: Tensor, k: number): Tensor {
    return affine(x, this.convs[this.choice[k]].forward(x), 1 - this.#ratio, this.#ratio, 0)
  }
}

function nearestTick(at: number, count: number): number {
  const start = count === 4 ? 1 / 3 / count : 1 / 2 / count
  const step = count > 1 ? (1 - start - start) / (count - 1) : 0
  const distances = Array.from({ length: count }, (_, i) => Math.abs(i * step + start - at))
  return distances.indexOf(Math.min(...distances))
}
