/**
 * EfficientNet-Lite0 (Liu 2020, "Higher accuracy on vision models with EfficientNet-Lite"): an image classifier whose features
 * judge how alike two pictures look. Batch normalisation is folded into the convolutions, so this is a network to be used, not
 * to be trained. All images are NHWC.
 */
import { Conv2d, Linear, Module } from '../../nn/index.js'
import { add, areaPool, clamp, reshape, scope, type Tensor } from '../../tensor/index.js'

/** Stages of blocks, finest first: published in efficientnet_lite_builder of the TPU models. */
const stages = [
  { blocks: 1, kernel: 3, stride: 1, expansion: 1, channels: 16 },
  { blocks: 2, kernel: 3, stride: 2, expansion: 6, channels: 24 },
  { blocks: 2, kernel: 5, stride: 2, expansion: 6, channels: 40 },
  { blocks: 3, kernel: 3, stride: 2, expansion: 6, channels: 80 },
  { blocks: 3, kernel: 5, stride: 1, expansion: 6, channels: 112 },
  { blocks: 4, kernel: 5, stride: 2, expansion: 6, channels: 192 },
  { blocks: 1, kernel: 3, stride: 1, expansion: 6, channels: 320 },
] as const
const stemChannels = 32
const headChannels = 1280
export const classes = 1000

/** The last stage of each resolution, whose outputs are the features: sides 1/2, 1/4, 1/8, 1/16, 1/32 of the image. */
const featureStages: ReadonlySet<number> = new Set([0, 1, 2, 4, 6])

const frozen = { init: null } as const

/** min(max(x, 0), 6) */
const relu6 = (x: Tensor): Tensor => clamp(x, 0, 6)

/** Zeros before and behind n pixels so that ⌈n/stride⌉ outputs come out, the odd one behind ("SAME" of TensorFlow). */
function samePadding(n: number, kernel: number, stride: number): [number, number] {
  const total = Math.max(0, (Math.ceil(n / stride) - 1) * stride + kernel - n)
  return [total >> 1, total - (total >> 1)]
}

/** Convolution whose padding follows the size of the image. */
class SameConv2d extends Conv2d {
  constructor(
    inputs: number,
    outputs: number,
    readonly kernel: number,
    options: { stride?: number; groups?: number; device?: string },
  ) {
    super(inputs, outputs, { ...frozen, ...options, kernel })
  }

  /** (n, h, w, inputs) → (n, ⌈h/stride⌉, ⌈w/stride⌉, outputs) */
  override forward(x: Tensor): Tensor {
    const [top, bottom] = samePadding(x.dim(1), this.kernel, this.stride)
    const [left, right] = samePadding(x.dim(2), this.kernel, this.stride)
    return this.convolve(x, [top, left, bottom, right])
  }
}

/** Inverted bottleneck: 1×1 to more channels, depthwise k×k, 1×1 to few; the input is added where shapes allow. */
class InvertedBottleneck extends Module {
  readonly expand: SameConv2d | null
  readonly depthwise: SameConv2d
  readonly project: SameConv2d
  readonly residual: boolean

  constructor(
    inputs: number,
    outputs: number,
    { kernel, stride, expansion, device }: { kernel: number; stride: number; expansion: number; device?: string },
  ) {
    super()
    const inner = inputs * expansion
    this.expand = expansion > 1 ? this.child('_expand_conv', new SameConv2d(inputs, inner, 1, { device })) : null
    this.depthwise = this.child(
      '_depthwise_conv',
      new SameConv2d(inner, inner, kernel, { stride, groups: inner, device }),
    )
    this.project = this.child('_project_conv', new SameConv2d(inner, outputs, 1, { device }))
    this.residual = stride === 1 && inputs === outputs
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      const wide = this.expand ? relu6(this.expand.forward(x)) : x
      const y = this.project.forward(relu6(this.depthwise.forward(wide)))
      return this.residual ? add(y, x) : y
    })
  }
}

export class EfficientNetLite0 extends Module {
  readonly stem: SameConv2d
  readonly blocks: InvertedBottleneck[] = []
  readonly head: SameConv2d
  readonly classifier: Linear
  /** Indices of the blocks whose outputs are features. */
  readonly #featureBlocks = new Set<number>()

  constructor({ device }: { device?: string } = {}) {
    super()
    this.stem = this.child('_conv_stem', new SameConv2d(3, stemChannels, 3, { stride: 2, device }))
    let inputs = stemChannels
    stages.forEach(({ blocks, stride, channels, ...shape }, stage) => {
      for (let i = 0; i < blocks; i++) {
        const block = new InvertedBottleneck(inputs, channels, { ...shape, stride: i === 0 ? stride : 1, device })
        this.blocks.push(this.child(`_blocks.${this.blocks.length}`, block))
        inputs = channels
      }
      if (featureStages.has(stage)) this.#featureBlocks.add(this.blocks.length - 1)
    })
    this.head = this.child('_conv_head', new SameConv2d(inputs, headChannels, 1, { device }))
    this.classifier = this.child('_fc', new Linear(headChannels, classes, { ...frozen, device }))
    this.setTrainable(false)
  }

  /**
   * Features of images in [−1, 1], as the published network scales them (mean 127, deviation 128).
   * @param images (n, h, w, 3)
   * @returns (n, h/2, w/2, 16), (n, h/4, w/4, 24), (n, h/8, w/8, 40), (n, h/16, w/16, 112), (n, h/32, w/32, 320), sides rounded up
   */
  features(images: Tensor): Tensor[] {
    return scope(() => {
      const features: Tensor[] = []
      let x = relu6(this.stem.forward(images))
      this.blocks.forEach((block, i) => {
        x = block.forward(x)
        if (this.#featureBlocks.has(i)) features.push(x)
      })
      return features
    })
  }

  /** Pooled features before the classifier from the coarsest ones: (n, h/32, w/32, 320) → (n, 1280). */
  pooled(coarsest: Tensor): Tensor {
    return scope(() => reshape(areaPool(relu6(this.head.forward(coarsest)), 1, 1), [coarsest.dim(0), headChannels]))
  }

  /** Logits of the classes of ImageNet from the coarsest features: (n, h/32, w/32, 320) → (n, 1000). */
  logits(coarsest: Tensor): Tensor {
    return scope(() => this.classifier.forward(this.pooled(coarsest)))
  }
}
