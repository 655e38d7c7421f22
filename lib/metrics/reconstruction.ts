/** What a tokenizer makes of pictures that it has not seen. */
import { toTensor } from '../data/index.js'
import type { EfficientNetLite0 } from '../models/backbone/index.js'
import { perceptualTerms } from '../models/losses/index.js'
import { imageSide, psnr, type Tokenizer } from '../models/tokenizer/index.js'
import { mse, noGrad, scope } from '../tensor/index.js'
import { ssim, ssimSide } from './ssim.js'

export interface ReconstructionFigures {
  pictures: number
  /** 10·log₁₀(4/mse) of values in [−1, 1], of the mean square over all pictures; dB. */
  psnr: number
  /** Null for pictures that are smaller than its window. */
  ssim: number | null
  /** Mean of `perceptualTerms`; null without a backbone. */
  perceptual: number | null
  /** Share of the codebook's rows that the pictures' tokens use, in [0, 1]. */
  codebook: number
}

/** Sums over batches of pictures, which are not kept. */
export class Reconstruction {
  #pictures = 0
  #squares = 0
  #similarity = 0
  #distance = 0
  readonly #used: Uint8Array

  constructor(
    readonly tokenizer: Tokenizer,
    readonly backbone: EfficientNetLite0 | null,
    readonly device: string,
  ) {
    this.#used = new Uint8Array(tokenizer.config.vocabSize)
  }

  /** @param pictures side²·3 bytes each */
  add(pictures: readonly Uint8Array[]): void {
    const { tokenizer, backbone, device } = this
    const n = pictures.length
    noGrad(() =>
      scope(() => {
        const images = toTensor(pictures, imageSide(tokenizer.config), { device })
        const { indices, fHat } = tokenizer.quantizer.quantize(tokenizer.encode(images))
        for (const ids of indices) for (const id of ids.ints()) this.#used[id] = 1
        const given = tokenizer.decode(fHat.at(-1)!)
        this.#squares += n * mse(given, images).item()
        if (this.#measuresSimilarity) this.#similarity += n * ssim(given, images)
        if (backbone) this.#distance += n * perceptualTerms(backbone, given, images).features.item()
      }),
    )
    this.#pictures += n
  }

  get #measuresSimilarity(): boolean {
    return imageSide(this.tokenizer.config) >= ssimSide
  }

  figures(): ReconstructionFigures {
    const n = this.#pictures
    return {
      pictures: n,
      psnr: psnr(this.#squares / n),
      ssim: this.#measuresSimilarity ? this.#similarity / n : null,
      perceptual: this.backbone && this.#distance / n,
      codebook: this.#used.reduce((sum, used) => sum + used, 0) / this.#used.length,
    }
  }
}
