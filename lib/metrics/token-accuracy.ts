/** How many tokens of known pictures the transformer finds when it is given the true coarser scales. */
import { toTensor } from '../data/index.js'
import { type StarTransformer, tokenMetrics } from '../models/star/index.js'
import type { TextEncoder } from '../models/text/index.js'
import type { Tokenizer } from '../models/tokenizer/index.js'
import { concat, noGrad, scope } from '../tensor/index.js'

export interface TokenFigures {
  captions: number
  /** Mean cross-entropy of all tokens, in nats. */
  loss: number
  /** Share of tokens of all scales, and of each scale, whose most probable code is the true one, in [0, 1]. */
  accuracy: number
  perScale: number[]
}

/** Sums over batches of pictures with captions. */
export class TokenAccuracy {
  #captions = 0
  #loss = 0
  #accuracy = 0
  readonly #perScale: number[]

  constructor(
    private readonly networks: { tokenizer: Tokenizer; transformer: StarTransformer; textEncoder: TextEncoder },
    private readonly device: string,
  ) {
    this.#perScale = networks.transformer.levels.map(() => 0)
  }

  /** Where all samples of a batch attend to the text of the first one, each is a batch of its own. */
  get batchSize(): number {
    return this.networks.transformer.config.crossAttention === 'first-sample' ? 1 : 16
  }

  add(pictures: readonly Uint8Array[], captions: readonly string[]): void {
    const { tokenizer, transformer, textEncoder } = this.networks
    const n = pictures.length
    noGrad(() =>
      scope(() => {
        const side = Math.round(Math.sqrt(pictures[0].length / 3))
        const indices = tokenizer.tokenize(toTensor(pictures, side, { device: this.device }))
        const input = tokenizer.quantizer.transformerInput(indices)
        const text = textEncoder.encode(captions, { trim: true })
        const metrics = tokenMetrics(transformer.forward({ input, text }), concat(indices, 1), transformer.levels)
        this.#loss += n * metrics.loss
        this.#accuracy += (n * metrics.accuracy) / 100
        metrics.perScale.forEach((scale, k) => {
          this.#perScale[k] += (n * (scale?.accuracy ?? 0)) / 100
        })
      }),
    )
    this.#captions += n
  }

  figures(): TokenFigures {
    const n = this.#captions
    return {
      captions: n,
      loss: this.#loss / n,
      accuracy: this.#accuracy / n,
      perScale: this.#perScale.map((sum) => sum / n),
    }
  }
}
