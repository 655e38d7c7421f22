/** The pieces of the convolutional encoder and decoder. All images are NHWC. */
import { Conv2d, GroupNorm, type LayerOptions, Module } from '../../nn/index.js'
import { add, matmul, reshape, scope, slice, softmax, type Tensor, upsampleNearest } from '../../tensor/index.js'

/**
 * Layers one after another; what passes between them is freed as soon as the next one has read it: at 1024² a map takes
 * hundreds of megabytes.
 */
export function inTurn(input: Tensor, ...layers: readonly ((x: Tensor) => Tensor)[]): Tensor {
  let x = input
  for (const layer of layers) {
    const before = x
    x = layer(before)
    if (before !== input && before !== x) before.dispose()
  }
  return x
}

type Init = Pick<LayerOptions, 'init' | 'device'>

/** shortcut(x) + conv2(SiLU(norm2(conv1(SiLU(norm1(x)))))); the shortcut is a 1×1 convolution where the channels change. */
export class ResnetBlock extends Module {
  readonly norm1: GroupNorm
  readonly conv1: Conv2d
  readonly norm2: GroupNorm
  readonly conv2: Conv2d
  readonly shortcut: Conv2d | null

  constructor(inputs: number, outputs: number, init: Init) {
    super()
    this.norm1 = this.child('norm1', new GroupNorm(inputs, { silu: true, device: init.device }))
    this.conv1 = this.child('conv1', new Conv2d(inputs, outputs, { ...init, kernel: 3 }))
    this.norm2 = this.child('norm2', new GroupNorm(outputs, { silu: true, device: init.device }))
    this.conv2 = this.child('conv2', new Conv2d(outputs, outputs, { ...init, kernel: 3 }))
    this.shortcut =
      inputs === outputs ? null : this.child('nin_shortcut', new Conv2d(inputs, outputs, { ...init, kernel: 1 }))
  }

  /** x (n, h, w, inputs) → (n, h, w, outputs) */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const layers = [this.norm1, this.conv1, this.norm2, this.conv2]
      const h = inTurn(x, ...layers.map((layer) => (y: Tensor) => layer.forward(y)))
      return add(h, this.shortcut ? this.shortcut.forward(x) : x)
    })
  }
}

/** Attention with one head over all positions: x + proj(softmax(q·kᵀ/√c)·v), [q, k, v] = qkv(norm(x)). */
export class AttnBlock extends Module {
  readonly norm: GroupNorm
  readonly qkv: Conv2d
  readonly projection: Conv2d

  constructor(
    readonly channels: number,
    init: Init,
  ) {
    super()
    this.norm = this.child('norm', new GroupNorm(channels, { device: init.device }))
    this.qkv = this.child('qkv', new Conv2d(channels, 3 * channels, { ...init, kernel: 1 }))
    this.projection = this.child('proj_out', new Conv2d(channels, channels, { ...init, kernel: 1 }))
  }

  /** x (n, h, w, c) → the same shape */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const [n, h, w, c] = x.shape
      const packed = reshape(this.qkv.forward(this.norm.forward(x)), [n, h * w, 3 * c])
      const [q, k, v] = [0, 1, 2].map((i) => slice(packed, 2, i * c, (i + 1) * c))
      const weights = softmax(matmul(q, k, { transB: true }), c ** -0.5)
      return add(this.projection.forward(reshape(matmul(weights, v), [n, h, w, c])), x)
    })
  }
}

/** Halves the image: one row and column of zeros at the right and bottom, then a 3×3 convolution with stride 2. */
export class Downsample extends Module {
  readonly conv: Conv2d

  constructor(channels: number, init: Init) {
    super()
    this.conv = this.child(
      'conv',
      new Conv2d(channels, channels, { ...init, kernel: 3, stride: 2, padding: [0, 0, 1, 1] }),
    )
  }

  /** (n, h, w, c) → (n, h/2, w/2, c) */
  forward(x: Tensor): Tensor {
    return this.conv.forward(x)
  }
}

/** Doubles the image: nearest neighbour, then a 3×3 convolution. */
export class Upsample extends Module {
  readonly conv: Conv2d

  constructor(channels: number, init: Init) {
    super()
    this.conv = this.child('conv', new Conv2d(channels, channels, { ...init, kernel: 3 }))
  }

  /** (n, h, w, c) → (n, 2h, 2w, c) */
  forward(x: Tensor): Tensor {
    return scope(() => inTurn(x, upsampleNearest, (y) => this.conv.forward(y)))
  }
}

/** block_1, attn_1, block_2 at the coarsest resolution. */
export class Middle extends Module {
  readonly block1: ResnetBlock
  readonly attention: AttnBlock | null
  readonly block2: ResnetBlock

  constructor(channels: number, attention: boolean, init: Init) {
    super()
    this.block1 = this.child('block_1', new ResnetBlock(channels, channels, init))
    this.attention = attention ? this.child('attn_1', new AttnBlock(channels, init)) : null
    this.block2 = this.child('block_2', new ResnetBlock(channels, channels, init))
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      const h = this.block1.forward(x)
      return this.block2.forward(this.attention ? this.attention.forward(h) : h)
    })
  }
}

/** The residual blocks of one level, each followed by attention where the level has it. */
export class Level extends Module {
  readonly blocks: ResnetBlock[]
  readonly attentions: AttnBlock[]

  constructor(inputs: number, outputs: number, options: { blocks: number; attention: boolean }, init: Init) {
    super()
    const each = Array.from({ length: options.blocks }, (_, i) => i)
    this.blocks = each.map((i) => this.child(`block.${i}`, new ResnetBlock(i === 0 ? inputs : outputs, outputs, init)))
    this.attentions = options.attention ? each.map((i) => this.child(`attn.${i}`, new AttnBlock(outputs, init))) : []
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      const layers = this.blocks.flatMap((block, i) =>
        this.attentions.length > 0 ? [block, this.attentions[i]] : [block],
      )
      return inTurn(x, ...layers.map((layer) => (y: Tensor) => layer.forward(y)))
    })
  }
}
