/** Training of the transformer on token maps that a frozen tokenizer made, by teacher forcing. */
import { type NamedTensors, writeModelFolder } from '../checkpoint/index.js'
import {
  type DropPath,
  drawDropPath,
  StarTransformer,
  sliceDropPath,
  tokenLoss,
  tokenMetrics,
} from '../models/star/index.js'
import { textEncoderReference } from '../models/text/load.js'
import { Random, type Tensor } from '../tensor/index.js'
import type { TransformerRunConfig } from './config.js'
import type { RunFolder } from './run-folder.js'
import type { Metrics, Task, TaskContext } from './task.js'
import { openSource, splitSamples, TokenData, type TokenSamples } from './token-data.js'

/** A micro-batch: samples, and the branches they leave out. */
interface Part {
  samples: TokenSamples
  dropPath: DropPath
}

class TransformerTask implements Task<TokenSamples, Part> {
  readonly model: StarTransformer
  #random: Random

  constructor(
    private readonly config: TransformerRunConfig,
    private readonly data: TokenData,
  ) {
    this.#random = new Random(config.seed)
    const { patchNums, vocabSize, latentChannels } = data.tokenizer.config
    this.model = new StarTransformer(
      { ...config.model, patchNums, vocabSize, latentChannels, textWidth: data.text.width },
      { init: this.#random, device: data.device, scales: config.init },
    )
  }

  get sampleCount(): number | null {
    return this.data.sampleCount
  }

  next(count: number): Promise<TokenSamples> {
    return this.data.next(count, this.#random, this.config.textDropout)
  }

  split(batch: TokenSamples, count: number): Part[] {
    const dropPath = drawDropPath(this.model.config, batch.ids.length, this.#random)
    return splitSamples(batch, count).map(({ samples, begin, end }) => ({
      samples,
      dropPath: sliceDropPath(dropPath, begin, end),
    }))
  }

  forwardBackward({ samples, dropPath }: Part, _step: number, backward: (loss: Tensor) => void): Metrics {
    const { data, config, model } = this
    const { input, text, targets } = data.batch(samples)
    const logits = model.forward({ input, text, dropPath, recompute: config.recompute }) // (B, L, V)
    const loss = tokenLoss(logits, targets, { labelSmoothing: config.labelSmoothing })
    const metrics = flatMetrics(tokenMetrics(logits, targets, model.config.patchNums))
    backward(loss)
    return { loss: loss.item(), ...metrics }
  }

  /** Loss and accuracy on held-out images. */
  validate(): Promise<Metrics> {
    return this.data.overHeldOut(({ input, text, targets }) =>
      flatMetrics(tokenMetrics(this.model.forward({ input, text }), targets, this.model.config.patchNums)),
    )
  }

  state(): unknown {
    return { random: this.#random.state(), data: this.data.state() }
  }

  restore(state: unknown): void {
    const { random, data } = state as { random: ReturnType<Random['state']>; data: unknown }
    this.#random = Random.restore(random)
    this.data.restore(data)
  }

  exportTo(folder: string, weights: NamedTensors): void {
    writeModelFolder(folder, {
      config: {
        name: this.config.name,
        tokenizer: this.data.tokenizer.config,
        transformer: this.model.config,
        textEncoder: textEncoderReference(this.config.textEncoder),
        sampling: this.config.sampling,
      },
      tokenizer: this.data.tokenizer,
      transformer: weights,
      dtype: 'f16',
    })
  }

  dispose(): void {
    this.model.dispose()
    this.data.dispose()
  }
}

function flatMetrics({ perScale, ...totals }: ReturnType<typeof tokenMetrics>): Metrics {
  return {
    ...totals,
    ...Object.fromEntries(
      perScale.flatMap(({ loss, accuracy }, k) => [
        [`L${k + 1}`, loss],
        [`Acc${k + 1}`, accuracy],
      ]),
    ),
  }
}

export async function openTransformerTask(
  config: TransformerRunConfig,
  run: RunFolder,
  context: TaskContext,
): Promise<Task> {
  const source = await openSource(config.tokenizer, {}, context)
  return new TransformerTask(config, await TokenData.open({ ...config, source }, run, context))
}
