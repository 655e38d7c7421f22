/** The tokenizer as one module: encoder, multi-scale quantizer and decoder, with the released tensor names. */
import { parseConfig } from '../../config/parse-config.js'
import { StarError } from '../../native/index.js'
import { Conv2d, type HalfType, type LayerOptions, Module } from '../../nn/index.js'
import { cast, clamp, type DType, noGrad, type Random, scope, type Tensor } from '../../tensor/index.js'
import { downsampling, type TokenizerConfig, type TokenizerOptions, tokenizerSchema } from './config.js'
import { Decoder } from './decoder.js'
import { Encoder } from './encoder.js'
import { MultiScaleQuantizer } from './quantizer.js'

/**
 * The image tokenizer: an autoencoder around a multi-scale residual quantizer. Images are NHWC in [−1, 1]. Tensor names
 * are those of the released vae_ch160v4096z32.
 */
export class Tokenizer extends Module {
  readonly config: TokenizerConfig
  readonly encoder: Encoder
  readonly decoder: Decoder
  readonly quantizer: MultiScaleQuantizer
  readonly quantConv: Conv2d
  readonly postQuantConv: Conv2d

  /** @param options.init source of the first weights; null leaves zeros, for weights that are loaded afterwards */
  constructor(config: TokenizerOptions, options: Pick<LayerOptions, 'init' | 'device'>) {
    super()
    this.config = parseConfig(tokenizerSchema, config, 'tokenizer')
    const z = this.config.latentChannels
    this.encoder = this.child('encoder', new Encoder(this.config, options))
    this.decoder = this.child('decoder', new Decoder(this.config, options))
    this.quantizer = this.child('quantize', new MultiScaleQuantizer(this.config, options))
    this.quantConv = this.child('quant_conv', new Conv2d(z, z, { ...options, kernel: 3 }))
    this.postQuantConv = this.child('post_quant_conv', new Conv2d(z, z, { ...options, kernel: 3 }))
  }

  override parametersByUse(): Tensor[] {
    const parts = [this.encoder, this.quantConv, this.quantizer, this.postQuantConv, this.decoder]
    return parts.flatMap((part) => part.parameters())
  }

  /** Element type of the encoder, and of the decoder without `decodeIn`; images, latents and the quantizer are f32. */
  get dtype(): DType {
    return this.quantConv.weight.dtype
  }

  /** The latent before quantization: images (B, H, W, 3), sides multiples of the downsampling → (B, h, w, Z). */
  encode(images: Tensor): Tensor {
    const patch = downsampling(this.config)
    const [, height, width, channels] = images.shape
    if (images.rank !== 4 || channels !== 3 || [height, width].some((side) => side === 0 || side % patch !== 0))
      throw new StarError(
        'ERR_SHAPE',
        `encode: the images have shape (${images.shape.join(', ')}), expected (batch, height, width, 3) with sides that are multiples of ${patch}`,
      )
    return scope(() => cast(this.quantConv.forward(this.encoder.forward(cast(images, this.dtype))), 'f32'))
  }

  /** The image before clamping: f̂ (B, h, w, Z) → (B, H, W, 3). Differentiable. */
  decodeRaw(fHat: Tensor): Tensor {
    const { dtype } = this.postQuantConv.weight
    return scope(() => cast(this.decoder.forward(this.postQuantConv.forward(cast(fHat, dtype))), 'f32'))
  }

  /**
   * Lets the way from f̂ to pixels compute in 16 bits, on tensor cores where the device has them; its f32 weights are given up.
   * Pixels in f16 are those of f32 with a PSNR above 50 dB.
   */
  decodeIn(type: HalfType): void {
    for (const part of [this.postQuantConv, this.decoder])
      for (const before of part.toHalf(type).values()) before.dispose()
  }

  /** The image of a quantized latent, in [−1, 1]: f̂ (B, h, w, Z) → (B, H, W, 3). */
  decode(fHat: Tensor): Tensor {
    return scope(() => clamp(this.decodeRaw(fHat), -1, 1))
  }

  /** Token maps of images, i32 (B, h_k·w_k) for each scale. */
  tokenize(images: Tensor): Tensor[] {
    return noGrad(() => scope(() => this.quantizer.quantize(this.encode(images)).indices))
  }

  /** Image → tokens → image. */
  reconstruct(images: Tensor): Tensor {
    return noGrad(() => scope(() => this.decode(this.quantizer.quantize(this.encode(images)).fHat.at(-1)!)))
  }

  /**
   * Sets the codebook from what the encoder gives for the first images: `rounds` times, all scales are matched, and
   * the rows become the k-means centres of the matched vectors. Start training with it, not from random rows.
   */
  initializeCodebook(images: Tensor, random: Random, options: { rounds?: number } = {}): void {
    const { quantizer } = this
    noGrad(() =>
      scope(() => {
        const feature = this.encode(images)
        quantizer.codebook.sample(quantizer.train(feature).vectors, random)
        for (let round = 0; round < (options.rounds ?? 4); round++)
          scope(() => quantizer.codebook.refine(quantizer.train(feature).vectors, random, 1))
      }),
    )
  }
}
