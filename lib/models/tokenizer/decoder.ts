/** The decoder of the VQ autoencoder: from latents to images. */
import { Conv2d, GroupNorm, type LayerOptions, Module } from '../../nn/index.js'
import { scope, type Tensor } from '../../tensor/index.js'
import { inTurn, Level, Middle, Upsample } from './blocks.js'
import type { TokenizerConfig } from './config.js'

/** conv_in → middle → levels, coarsest first, with doubling between them → GroupNorm, SiLU → conv_out: latent to image. */
export class Decoder extends Module {
  readonly convIn: Conv2d
  readonly middle: Middle
  /** Coarsest first; `up.i` is the level with multiplier i. */
  readonly levels: { level: Level; up: Upsample | null }[]
  readonly normOut: GroupNorm
  readonly convOut: Conv2d

  constructor(config: TokenizerConfig, init: Pick<LayerOptions, 'init' | 'device'>) {
    super()
    const channels = config.channelMultipliers.map((m) => m * config.baseChannels)
    const last = channels.length - 1
    this.convIn = this.child('conv_in', new Conv2d(config.latentChannels, channels[last], { ...init, kernel: 3 }))
    this.middle = this.child('mid', new Middle(channels[last], config.middleAttention, init))
    this.levels = []
    for (let i = last; i >= 0; i--) {
      const options = { blocks: config.residualBlocks + 1, attention: config.levelAttention && i === last }
      const inputs = i === last ? channels[last] : channels[i + 1]
      const level = this.child(`up.${i}`, new Level(inputs, channels[i], options, init))
      const up = i === 0 ? null : this.child(`up.${i}.upsample`, new Upsample(channels[i], init))
      this.levels.push({ level, up })
    }
    this.normOut = this.child('norm_out', new GroupNorm(channels[0], { silu: true, device: init.device }))
    this.convOut = this.child('conv_out', new Conv2d(channels[0], 3, { ...init, kernel: 3 }))
  }

  /** latent (n, h, w, Z) → images (n, H, W, 3), not clamped */
  forward(latent: Tensor): Tensor {
    return scope(() => {
      const levels = this.levels.flatMap(({ level, up }) => (up ? [level, up] : [level]))
      const layers = [this.convIn, this.middle, ...levels, this.normOut, this.convOut]
      return inTurn(latent, ...layers.map((layer) => (y: Tensor) => layer.forward(y)))
    })
  }
}
