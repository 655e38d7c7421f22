/** What Muon costs beside AdamW: a training step of the size of configs/icons-128.json, on made-up data, in bf16. */
import { hiddenMatrices, StarTransformer, tokenLoss } from '../lib/models/star/index.js'
import { AdamW, Muon, noWeightDecay, type Optimizer, type TrainedParameter } from '../lib/optim/index.js'
import { backward, clearTape, Random, scope, Tensor, zeros } from '../lib/tensor/index.js'
import { signedTensor } from './rule.js'

const batch = 16
const shape = {
  ...{ depth: 6, width: 384, heads: 6, dropPath: 0, vocabSize: 2048, latentChannels: 16, textWidth: 384 },
  // 149 tokens, as many as a step of that run computes.
  patchNums: [1, 2, 4, 8, 8],
}
const textTokens = 32

/** Milliseconds of processor time, of all threads together: what else the machine does counts little. */
export interface OptimizerTimes {
  /** Forward and backward. */
  gradients_ms: number
  adamw_ms: number
  muon_ms: number
}

function processorTime(run: () => void): number {
  const begin = process.cpuUsage()
  run()
  const { user, system } = process.cpuUsage(begin)
  return (user + system) / 1000
}

export class OptimizerBench {
  readonly #model = new StarTransformer(shape, { init: new Random(1) })
  readonly #masters = this.#model.toHalf('bf16')
  readonly #adamw: Optimizer
  readonly #muon: Optimizer
  readonly #input = signedTensor('input', [batch, this.#model.length - 1, shape.latentChannels])
  readonly #text = {
    states: signedTensor('text', [batch, textTokens, shape.textWidth]),
    pooled: signedTensor('pooled', [batch, shape.textWidth]),
    mask: Tensor.from(new Uint8Array(batch * textTokens).fill(1), [batch, textTokens]),
  }
  readonly #targets = zeros([batch, this.#model.length], { dtype: 'i32' })

  constructor() {
    const parameters = [...this.#model.namedTensors()]
      .filter(({ trainable }) => trainable)
      .map(({ name, tensor }): TrainedParameter => ({ name, tensor, master: this.#masters.get(name) }))
    const options = { maxNorm: 2, noDecay: noWeightDecay }
    this.#adamw = new AdamW(parameters, options)
    this.#muon = new Muon(parameters, { ...options, matrices: hiddenMatrices })
  }

  time(): OptimizerTimes {
    const gradients_ms = processorTime(() =>
      scope(() => {
        const logits = this.#model.forward({ input: this.#input, text: this.#text })
        const loss = tokenLoss(logits, this.#targets, {})
        backward(loss)
        loss.item()
      }),
    )
    const step = (optimizer: Optimizer) => () => void optimizer.step({ lr: 1e-5, weightDecay: 0.05 })
    const times = { gradients_ms, adamw_ms: processorTime(step(this.#adamw)), muon_ms: processorTime(step(this.#muon)) }
    this.#model.zeroGrad()
    clearTape()
    return times
  }

  dispose(): void {
    const { states, pooled, mask } = this.#text
    for (const tensor of [this.#input, this.#targets, states, pooled, mask, ...this.#masters.values()]) tensor.dispose()
    this.#adamw.dispose()
    this.#muon.dispose()
    this.#model.dispose()
  }
}
