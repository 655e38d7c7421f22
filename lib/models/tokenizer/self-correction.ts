/**
 * Errors made on purpose in the tokens that a transformer is fed in training, so that it learns to mend its own (Han et al.
 * 2024, "Infinity", section 3.3, there for bitwise codes; here a token becomes one of the codes nearest to it).
 */
import { type Random, Tensor } from '../../tensor/index.js'
import type { MultiScaleQuantizer, Quantized } from './quantizer.js'

/** Codes that a token may become. */
const neighbours = 8

export class SelfCorrection {
  /** The codes nearest to each code, nearest first: (V·n). */
  readonly #near: Int32Array
  readonly #count: number

  constructor(private readonly quantizer: MultiScaleQuantizer) {
    const { weight } = quantizer.embedding
    const [vocab, channels] = weight.shape
    this.#count = Math.min(neighbours, vocab - 1)
    this.#near = nearestOthers(weight.floats(), vocab, channels, this.#count)
  }

  /**
   * Tokens to predict and the running f̂ to predict them from: each fed token of sample b is exchanged for a near code with
   * probability rates[b], and the tokens of later scales code what is then left over.
   * @param feature latents (B, h, w, Z)
   * @param rates of the samples, in [0, 1]
   * @param randoms a source of its own for each sample, so that a sample does not depend on the batch it is in
   */
  quantize(feature: Tensor, rates: readonly number[], randoms: readonly Random[]): Quantized {
    return this.quantizer.quantize(feature, (ids) => {
      const tokens = ids.ints() // on the host: it happens while the batch is made, ahead of the forward pass
      const each = tokens.length / rates.length
      const changed = tokens.map((token, i) => {
        const b = Math.floor(i / each)
        return this.#count > 0 && randoms[b].next() < rates[b]
          ? this.#near[token * this.#count + randoms[b].integer(this.#count)]
          : token
      })
      return Tensor.from(changed, ids.shape, { device: ids.device }) // (B, p_k²)
    })
  }
}

/** For each of the rows, the `count` other rows nearest in L2, nearest first. */
function nearestOthers(rows: Float32Array, vocab: number, channels: number, count: number): Int32Array {
  const near = new Int32Array(vocab * count)
  const best = new Float64Array(count)
  for (let v = 0; v < vocab; v++) {
    best.fill(Number.POSITIVE_INFINITY)
    for (let w = 0; w < vocab; w++) {
      if (w === v) continue
      let distance = 0
      for (let c = 0; c < channels && distance < best[count - 1]; c++)
        distance += (rows[v * channels + c] - rows[w * channels + c]) ** 2
      if (distance >= best[count - 1]) continue
      let place = count - 1
      for (; place > 0 && best[place - 1] > distance; place--) {
        best[place] = best[place - 1]
        near[v * count + place] = near[v * count + place - 1]
      }
      best[place] = distance
      near[v * count + place] = w
    }
  }
  return near
}
