/** The critic of an adversarial loss: whether each patch of a picture is real or a reconstruction. */
import { Conv2d, GroupNorm, type LayerOptions, Module } from '../../nn/index.js'
import { leakyRelu, scope, type Tensor } from '../../tensor/index.js'

const slope = 0.2
/** Deviation of the first weights (Isola et al. 2017). */
const std = 0.02

export interface DiscriminatorOptions extends Pick<LayerOptions, 'init' | 'device'> {
  /** Channels of the first layer; each further one has twice as many, four times the first at most. */
  channels: number
  /** Convolutions that halve the image. */
  layers: number
}

/**
 * PatchGAN (Isola et al. 2017, "Image-to-image translation with conditional adversarial networks"): `layers` convolutions 4×4
 * with stride 2, one with stride 1, and one to a single channel. GroupNorm stands for the published batch normalisation, which would let
 * the pictures of a batch, and so the number of micro-batches and processes, change each other's logits.
 */
export class PatchDiscriminator extends Module {
  readonly #layers: { conv: Conv2d; norm: GroupNorm | null }[]
  readonly #last: Conv2d

  constructor({ channels, layers, init, device }: DiscriminatorOptions) {
    super()
    const options = { init, device, std, kernel: 4, padding: 1 }
    const widths = Array.from({ length: layers + 1 }, (_, i) => channels * 2 ** Math.min(i, 2))
    this.#layers = widths.map((width, i) => ({
      // A bias before a normalisation has no effect.
      conv: this.child(
        `layers.${i}.conv`,
        new Conv2d(i === 0 ? 3 : widths[i - 1], width, { ...options, stride: i < layers ? 2 : 1, bias: i === 0 }),
      ),
      norm: i === 0 ? null : this.child(`layers.${i}.norm`, new GroupNorm(width, { groups: width / 8, device })),
    }))
    this.#last = this.child('out', new Conv2d(widths[layers], 1, options))
  }

  /** Logits of the patches, positive for real ones: (n, h, w, 3) → (n, h/2^layers − 2, w/2^layers − 2, 1) */
  forward(images: Tensor): Tensor {
    return scope(() => {
      let x = images
      for (const { conv, norm } of this.#layers) {
        const y = conv.forward(x)
        x = leakyRelu(norm ? norm.forward(y) : y, slope)
      }
      return this.#last.forward(x)
    })
  }
}
