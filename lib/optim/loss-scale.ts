/**
 * Dynamic loss scaling for f16 (Micikevicius et al., "Mixed Precision Training", 2018): the loss is multiplied by a power of
 * two, so that small gradients stay above f16's smallest numbers. Gradients that overflow make the step be left out.
 */
import { StarError } from '../native/index.js'
import { allFinite, type Tensor } from '../tensor/index.js'

export interface LossScaleState {
  scale: number
  /** Steps taken since the scale last changed. */
  good: number
  /** Steps left out since the start. */
  skipped: number
}

/** The reference implementation's values. */
const firstScale = 2 ** 11
const largestScale = 2 ** 15
const growthInterval = 1000

function areFinite(gradients: readonly Tensor[]): boolean {
  const flag = allFinite(gradients)
  const finite = flag.item() === 1
  flag.dispose()
  return finite
}

export class LossScaler {
  #scale: number
  #good = 0
  #skipped = 0

  constructor(scale = firstScale) {
    this.#scale = scale
  }

  /** What the loss is multiplied by. */
  get scale(): number {
    return this.#scale
  }

  /** Steps left out since the start. */
  get skipped(): number {
    return this.#skipped
  }

  /**
   * Whether a step may be taken on these gradients of the scaled loss. Where one is infinite or NaN the step counts as left
   * out and the scale is halved; after 1000 steps without that it is doubled, up to 2^15.
   * @param agree whether the gradients of all processes are finite, where each has others
   * @throws ERR_ARGUMENT when gradients overflow although the loss is not magnified any more
   */
  accept(gradients: readonly Tensor[], agree: (finite: boolean) => boolean = (finite) => finite): boolean {
    const finite = agree(gradients.length === 0 || areFinite(gradients))
    if (!finite) this.#shrink()
    else if (++this.#good >= growthInterval) {
      this.#good = 0
      if (this.#scale < largestScale) this.#scale *= 2
    }
    return finite
  }

  #shrink(): void {
    if (this.#scale <= 1)
      throw new StarError(
        'ERR_ARGUMENT',
        `gradients are infinite or not a number at a loss scale of ${this.#scale}: the training has diverged; lower the learning rate, or set "precision" to bf16 or f32`,
      )
    this.#scale /= 2
    this.#good = 0
    this.#skipped += 1
  }

  state(): LossScaleState {
    return { scale: this.#scale, good: this.#good, skipped: this.#skipped }
  }

  restore({ scale, good, skipped }: LossScaleState): void {
    this.#scale = scale
    this.#good = good
    this.#skipped = skipped
  }
}
