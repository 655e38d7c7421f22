/** How different are pictures of one prompt? */
import { toTensor } from '../data/index.js'
import type { EfficientNetLite0 } from '../models/backbone/index.js'
import { perceptualTerms } from '../models/losses/index.js'
import { noGrad, scope } from '../tensor/index.js'
import { thumbnail } from './retrieval.js'

export interface DiversityFigures {
  prompts: number
  /** Pictures of each prompt. */
  seeds: number
  /** Root of the mean squared difference of two pictures of a prompt at 32×32, of values in [0, 1]: the mean over all pairs. */
  pixels: number
  /** Mean of `perceptualTerms` of the pairs; null without a backbone. */
  perceptual: number | null
}

/** Means over the pairs of pictures of each prompt. */
export class Diversity {
  #prompts = 0
  #seeds = 0
  #pairs = 0
  #pixels = 0
  #perceptual = 0

  constructor(
    readonly side: number,
    readonly backbone: EfficientNetLite0 | null,
    readonly device: string,
  ) {}

  /** @param pictures side²·3 bytes each, of one prompt */
  add(pictures: readonly Uint8Array[]): void {
    const { backbone, side, device } = this
    const small = pictures.map((picture) => thumbnail(picture, side))
    this.#prompts++
    this.#seeds = pictures.length
    for (let i = 0; i < pictures.length; i++)
      for (let j = i + 1; j < pictures.length; j++) {
        const squares = small[i].reduce((sum, value, k) => sum + (value - small[j][k]) ** 2, 0)
        this.#pairs++
        this.#pixels += Math.sqrt(squares / small[i].length) / 255
        if (backbone)
          this.#perceptual += noGrad(() =>
            scope(() => {
              const [a, b] = [pictures[i], pictures[j]].map((picture) => toTensor([picture], side, { device }))
              return perceptualTerms(backbone, a, b).features.item()
            }),
          )
      }
  }

  figures(): DiversityFigures {
    return {
      prompts: this.#prompts,
      seeds: this.#seeds,
      pixels: this.#pixels / this.#pairs,
      perceptual: this.backbone && this.#perceptual / this.#pairs,
    }
  }
}
