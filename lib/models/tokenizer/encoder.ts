/** The encoder of the VQ autoencoder: from images to latents. */
import { Conv2d, GroupNorm, type LayerOptions, Module } from '../../nn/index.js'
import { scope, type Tensor } from '../../tensor/index.js'
import { Downsample, Level, Middle } from './blocks.js'
import type { TokenizerConfig } from './config.js'

/** conv_in → levels with halving between them → middle → GroupNorm, SiLU → conv_out: image to latent. */
export class Encoder extends Module {
  readonly convIn: Conv2d
  readonly levels: { level: Level; down: Downsample | null }[]
  readonly middle: Middle
  readonly normOut: GroupNorm
  readonly convOut: Conv2d

  constructor(config: TokenizerConfig, init: Pick<LayerOptions, 'init' | 'device'>) {
    super()
    const channels = config.channelMultipliers.map((m) => m * config.baseChannels)
    const last = channels.length - 1
    this.convIn = this.child('conv_in', new Conv2d(3, config.baseChannels, { ...init, kernel: 3 }))
    this.levels = channels.map((outputs, i) => {
      const options = { blocks: config.residualBlocks, attention: config.levelAttention && i === last }
      const inputs = i === 0 ? config.baseChannels : channels[i - 1]
      const level = this.child(`down.${i}`, new Level(inputs, outputs, options, init))
      const down = i === last ? null : this.child(`down.${i}.downsample`, new Downsample(outputs, init))
      return { level, down }
    })
    this.middle = this.child('mid', new Middle(channels[last], config.middleAttention, init))
    this.normOut = this.child('norm_out', new GroupNorm(channels[last], { silu: true, device: init.device }))
    this.convOut = this.child('conv_out', new Conv2d(channels[last], config.latentChannels, { ...init, kernel: 3 }))
  }

  /** images (n, H, W, 3) → (n, h, w, Z) */
  forward(images: Tensor): Tensor {
    return scope(() => {
      let x = this.convIn.forward(images)
      for (const { level, down } of this.levels) {
        x = level.forward(x)
        if (down) x = down.forward(x)
      }
      return this.convOut.forward(this.normOut.forward(this.middle.forward(x)))
    })
  }
}
