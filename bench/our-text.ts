/** Our side of the text encoders' cases. */
import { ClipTextModel, T5Encoder, type TextModel } from '../lib/models/text/index.js'
import { native } from '../lib/native/index.js'
import { mul, noGrad, scope, Tensor } from '../lib/tensor/index.js'
import type { TextCase } from './cases.js'
import type { Outputs } from './ours.js'
import { fillModule, uniform } from './rule.js'

export class OurTextCase {
  readonly #model: TextModel
  readonly #ids: Tensor
  readonly #mask: Tensor
  /** The mask as numbers, (B, T, 1): states of padding mean nothing. */
  readonly #real: Tensor

  constructor({ config, batch, textTokens, textLengths }: TextCase) {
    const options = { init: null, device: 'cpu' }
    this.#model = config.model_type === 't5' ? new T5Encoder(config, options) : new ClipTextModel(config, options)
    this.#model.setTrainable(false)
    fillModule(this.#model)
    const shape = [batch, textTokens]
    const ids = Int32Array.from(uniform('ids', batch * textTokens), (u) => Math.floor(u * config.vocab_size))
    const mask = Uint8Array.from(ids, (_, i) => (i % textTokens < textLengths[Math.floor(i / textTokens)] ? 1 : 0))
    this.#ids = Tensor.from(ids, shape)
    this.#mask = Tensor.from(mask, shape)
    this.#real = Tensor.from(Float32Array.from(mask), [...shape, 1])
  }

  async run(): Promise<Outputs> {
    const states = noGrad(() => scope(() => mul(this.#model.forward(this.#ids, this.#mask), this.#real).floats()))
    native.synchronize('cpu')
    return { states }
  }

  async check(): Promise<Outputs> {
    return this.run()
  }

  dispose(): void {
    for (const owned of [this.#model, this.#ids, this.#mask, this.#real]) owned.dispose()
    native.trimMemory('cpu')
  }
}
