/** Our side of the benchmark: builds a case by rule, runs it, and keeps what it gives. */
import { SamplerHead, StarTransformer, tokenLoss } from '../lib/models/star/index.js'
import { Tokenizer } from '../lib/models/tokenizer/index.js'
import { native } from '../lib/native/index.js'
import { AdamW, noWeightDecay } from '../lib/optim/index.js'
import { generate } from '../lib/sampling/index.js'
import { backward, clearTape, noGrad, scope, Tensor } from '../lib/tensor/index.js'
import type { BenchCase, StarCase } from './cases.js'
import { OurTextCase } from './our-text.js'
import { fillByRule, signedTensor, uniform } from './rule.js'

/** Named results of one run on the host. */
export type Outputs = Record<string, Float32Array | Int32Array>

interface TrainState {
  targets: Tensor
  optimizer: AdamW
}

interface Text {
  states: Tensor
  pooled: Tensor
  mask: Tensor
}

/** A case on our side. */
export interface OurCase {
  /** Runs the case once. */
  run(): Promise<Outputs>
  /** What both sides must agree on. */
  check(): Promise<Outputs>
  dispose(): void
}

export const openCase = (bench: BenchCase): OurCase =>
  bench.kind === 'text' ? new OurTextCase(bench) : new OurStarCase(bench)

/** Milliseconds of one run. */
export async function time(ours: OurCase): Promise<number> {
  const begin = performance.now()
  await ours.run()
  return performance.now() - begin
}

class OurStarCase implements OurCase {
  readonly #case: StarCase
  readonly #star: StarTransformer
  readonly #tokenizer: Tokenizer | null = null
  readonly #input: Tensor | null = null
  readonly #text: Text
  readonly #head: SamplerHead | null = null
  /** Of draws and of random orders, in the order of their use. */
  readonly #noise: { draws: Tensor[]; orders: Tensor[] } = { draws: [], orders: [] }
  readonly #train: TrainState | null = null

  constructor(bench: StarCase) {
    this.#case = bench
    const { depth, width, patchNums, vocabSize, latentChannels, textWidth, kind, batch } = bench
    const length = patchNums.reduce((n, p) => n + p * p, 0)
    const config = { depth, width, heads: width / 64, patchNums, vocabSize, latentChannels, textWidth, dropPath: 0 }
    this.#star = new StarTransformer(config)
    for (const { name, tensor } of this.#star.namedTensors()) fillByRule(name, tensor)
    this.#text = text(bench, kind === 'generate' ? 2 : 1)
    if (kind === 'generate') {
      const { baseChannels, channelMultipliers } = bench
      this.#tokenizer = new Tokenizer(
        { baseChannels, channelMultipliers, vocabSize, latentChannels, patchNums },
        { init: null },
      )
      for (const { name, tensor } of this.#tokenizer.namedTensors())
        if (!/^(encoder|quant_conv)\./.test(name)) fillByRule(name, tensor)
      const { stableFrom = patchNums.length } = bench
      const stable = patchNums.slice(stableFrom)
      if (stable.length > 0) {
        this.#head = new SamplerHead(config)
        for (const { name, tensor } of this.#head.namedTensors()) fillByRule(name, tensor)
      }
      const draws = [...patchNums.slice(0, stableFrom), ...stable.flatMap((p) => new Array<number>(8).fill(p))]
      const orders = stable.flatMap((p) => new Array<number>(5).fill(p))
      this.#noise = {
        draws: draws.map((p, i) => Tensor.from(uniform(`draw:${i}`, batch * p * p), [batch * p * p])),
        orders: orders.map((p, i) => Tensor.from(uniform(`order:${i}`, batch * p * p), [batch, p * p])),
      }
      return
    }
    this.#input = signedTensor('input', [batch, length - 1, latentChannels])
    if (kind === 'train') this.#train = trainState(this.#star, bench, length)
  }

  /** Runs the case once. Training changes the weights, so the outputs of its first run are those to compare. */
  async run(): Promise<Outputs> {
    const { kind } = this.#case
    const out = kind === 'forward' ? this.#forward() : kind === 'train' ? this.#step() : await this.#generate()
    native.synchronize('cpu')
    return out
  }

  async check(): Promise<Outputs> {
    const out = await this.run()
    if (this.#train) out.second_loss = (await this.run()).loss
    return out
  }

  dispose(): void {
    clearTape()
    this.#star.dispose()
    this.#tokenizer?.dispose()
    this.#head?.dispose()
    this.#train?.optimizer.dispose()
    const owned = [
      this.#input,
      this.#train?.targets,
      ...this.#noise.draws,
      ...this.#noise.orders,
      ...Object.values(this.#text),
    ]
    for (const tensor of owned) tensor?.dispose()
    native.trimMemory('cpu')
  }

  #forward(): Outputs {
    return noGrad(() => scope(() => ({ logits: this.#logits().floats() })))
  }

  #logits(): Tensor {
    return this.#star.forward({ input: this.#input!, text: this.#text })
  }

  #step(): Outputs {
    const { targets, optimizer } = this.#train!
    return scope(() => {
      const loss = tokenLoss(this.#logits(), targets)
      backward(loss)
      const { gradNorm } = optimizer.step({ lr: 1e-4, weightDecay: 0.05 })
      this.#star.zeroGrad()
      return { loss: loss.floats(), gradient_norm: Float32Array.of(gradNorm) }
    })
  }

  async #generate(): Promise<Outputs> {
    const { batch } = this.#case
    const images = Array.from({ length: batch }, (_, i) => i)
    const tokens: number[] = []
    const calls = { draw: 0, order: 0 }
    const { draws, orders } = this.#noise
    const { sampling, stableFrom } = this.#case
    const unused = (): never => {
      throw new Error('bench: drawn tokens take no Gumbel noise')
    }
    const fHat = await generate({
      transformer: this.#star,
      quantizer: this.#tokenizer!.quantizer,
      samplerHead: this.#head,
      text: this.#text,
      prompts: images,
      empty: images.map((i) => batch + i),
      settings: { ...sampling, ...(stableFrom !== undefined && { stableFrom }) },
      noise: {
        draw: () => draws[calls.draw++].detach(),
        order: () => orders[calls.order++].detach(),
        gumbel: unused,
      },
      onScale: (event) => {
        tokens.push(...event.tokens!.ints())
      },
    })
    const image = noGrad(() => scope(() => this.#tokenizer!.decode(fHat).floats()))
    fHat.dispose()
    return { tokens: Int32Array.from(tokens), image }
  }
}

/** The batch's texts, and for a generation behind them those of the empty prompts. */
function text({ batch, textTokens, textWidth, textLengths }: StarCase, groups: number): Text {
  const rows = batch * groups
  const real = Uint8Array.from({ length: rows * textTokens }, (_, i) =>
    i % textTokens < textLengths[Math.floor(i / textTokens)] ? 1 : 0,
  )
  return {
    states: signedTensor('text', [rows, textTokens, textWidth]),
    pooled: signedTensor('pooled', [rows, textWidth]),
    mask: Tensor.from(real, [rows, textTokens]),
  }
}

function trainState(star: StarTransformer, { batch, vocabSize }: StarCase, length: number): TrainState {
  const targets = Int32Array.from(uniform('targets', batch * length), (u) => Math.floor(u * vocabSize))
  const parameters = [...star.namedTensors()].filter((t) => t.trainable)
  return {
    targets: Tensor.from(targets, [batch, length]),
    optimizer: new AdamW(parameters, { betas: [0.9, 0.95], eps: 1e-8, maxNorm: 2, noDecay: noWeightDecay }),
  }
}
