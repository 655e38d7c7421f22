/** Our side of the benchmark: builds a case by rule, runs it, and keeps what it gives. */
import { SamplerHead, StarTransformer, tokenLoss } from '../lib/models/star/index.js'
import { Tokenizer } from '../lib/models/tokenizer/index.js'
import { native } from '../lib/native/index.js'
import { buildIn } from '../lib/nn/index.js'
import { AdamW, noWeightDecay } from '../lib/optim/index.js'
import { generate } from '../lib/sampling/index.js'
import { backward, clearTape, noGrad, scope, Tensor } from '../lib/tensor/index.js'
import { TrainedWeights } from '../lib/train/checkpoint/trained-weights.js'
import type { BenchCase, Precision, StarCase } from './cases.js'
import { OurTextCase } from './our-text.js'
import { fillModule, signedTensor, uniform } from './rule.js'

/** Named results of one run on the host. */
export type Outputs = Record<string, Float32Array | Int32Array>

interface TrainState {
  targets: Tensor
  /** In f32, whatever the transformer computes in. */
  weights: TrainedWeights
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

export const openCase = (bench: BenchCase, precision: Precision): OurCase =>
  bench.kind === 'text' ? new OurTextCase(bench) : new OurStarCase(bench, precision)

/** Milliseconds of one run. */
export async function time(ours: OurCase): Promise<number> {
  const begin = performance.now()
  await ours.run()
  return performance.now() - begin
}

class OurStarCase implements OurCase {
  readonly #case: StarCase
  readonly #star: StarTransformer | null = null
  readonly #tokenizer: Tokenizer | null = null
  readonly #input: Tensor | null = null
  readonly #text: Text
  readonly #head: SamplerHead | null = null
  /** Of draws and of random orders, in the order of their use. */
  readonly #noise: { draws: Tensor[]; orders: Tensor[] } = { draws: [], orders: [] }
  readonly #train: TrainState | null = null

  constructor(bench: StarCase, precision: Precision) {
    this.#case = bench
    const { depth, width, patchNums, vocabSize, latentChannels, textWidth, kind, batch } = bench
    this.#text = text(bench, kind === 'generate' ? 2 : 1)
    if (kind === 'generate' || kind === 'decode') this.#tokenizer = tokenizer(bench, precision)
    if (kind === 'decode') {
      const side = patchNums[patchNums.length - 1]
      this.#input = signedTensor('f_hat', [batch, side, side, latentChannels])
      return
    }
    const config = { depth, width, heads: width / 64, patchNums, vocabSize, latentChannels, textWidth, dropPath: 0 }
    // Training keeps f32 weights beside those that it computes with.
    const [type, int8] = [precision === 'f32' || kind === 'train' ? 'f32' : 'bf16', precision === 'int8'] as const
    this.#star = buildIn(type, () => new StarTransformer(config, { int8 }))
    fillModule(this.#star)
    if (kind === 'generate') {
      const { stableFrom = patchNums.length } = bench
      const stable = patchNums.slice(stableFrom)
      if (stable.length > 0) {
        this.#head = buildIn(type, () => new SamplerHead(config, { int8 }))
        fillModule(this.#head)
      }
      const draws = [...patchNums.slice(0, stableFrom), ...stable.flatMap((p) => new Array<number>(8).fill(p))]
      const orders = stable.flatMap((p) => new Array<number>(5).fill(p))
      this.#noise = {
        draws: draws.map((p, i) => Tensor.from(uniform(`draw:${i}`, batch * p * p), [batch * p * p])),
        orders: orders.map((p, i) => Tensor.from(uniform(`order:${i}`, batch * p * p), [batch, p * p])),
      }
      return
    }
    const length = patchNums.reduce((n, p) => n + p * p, 0)
    this.#input = signedTensor('input', [batch, length - 1, latentChannels])
    if (kind === 'train') this.#train = trainState(this.#star, bench, length, precision)
  }

  /** Runs the case once. Training changes the weights, so the outputs of its first run are those to compare. */
  async run(): Promise<Outputs> {
    const out = await this.#out()
    native.synchronize('cpu')
    return out
  }

  async #out(): Promise<Outputs> {
    switch (this.#case.kind) {
      case 'forward':
        return this.#forward()
      case 'train':
        return this.#step()
      case 'generate':
        return this.#generate()
      case 'decode':
        return { pixels: this.#decode(this.#input!) }
    }
  }

  async check(): Promise<Outputs> {
    const out = await this.run()
    if (this.#train) out.second_loss = (await this.run()).loss
    return out
  }

  dispose(): void {
    clearTape()
    this.#star?.dispose()
    this.#tokenizer?.dispose()
    this.#head?.dispose()
    this.#train?.optimizer.dispose()
    this.#train?.weights.dispose()
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
    return this.#star!.forward({ input: this.#input!, text: this.#text })
  }

  #step(): Outputs {
    const { targets, optimizer } = this.#train!
    return scope(() => {
      const loss = tokenLoss(this.#logits(), targets)
      backward(loss)
      const { gradNorm } = optimizer.step({ lr: 1e-4, weightDecay: 0.05 })
      this.#star!.zeroGrad()
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
      transformer: this.#star!,
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
    const image = this.#decode(fHat)
    fHat.dispose()
    return { tokens: Int32Array.from(tokens), image }
  }

  #decode(fHat: Tensor): Float32Array {
    return noGrad(() => scope(() => this.#tokenizer!.decode(fHat).floats()))
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

function tokenizer(bench: StarCase, precision: Precision): Tokenizer {
  const { baseChannels, channelMultipliers, vocabSize, latentChannels, patchNums } = bench
  const made = new Tokenizer({ baseChannels, channelMultipliers, vocabSize, latentChannels, patchNums }, { init: null })
  fillModule(made, /^(?!(encoder|quant_conv)\.)/)
  if (precision !== 'f32') made.decodeIn('bf16')
  return made
}

function trainState(
  star: StarTransformer,
  { batch, vocabSize }: StarCase,
  length: number,
  precision: Precision,
): TrainState {
  const targets = Int32Array.from(uniform('targets', batch * length), (u) => Math.floor(u * vocabSize))
  const weights = new TrainedWeights(star, precision === 'f32' ? 'f32' : 'bf16')
  return {
    targets: Tensor.from(targets, [batch, length]),
    weights,
    optimizer: new AdamW(weights.parameters(), { betas: [0.9, 0.95], eps: 1e-8, maxNorm: 2, noDecay: noWeightDecay }),
  }
}
