/** Training of the transformer on token maps that a frozen tokenizer made, by teacher forcing. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { findModelFolder, readModelConfig, withModelWeights, writeModelFolder } from '../checkpoint/index.js'
import { ImageCaptionDataset } from '../data/index.js'
import { StarTransformer, tokenLoss, tokenMetrics } from '../models/star/index.js'
import { loadTextEncoder, textEncoderReference } from '../models/text/load.js'
import { Tokenizer } from '../models/tokenizer/index.js'
import { backward, noGrad, Random, scope, Tensor } from '../tensor/index.js'
import type { TransformerRunConfig } from './config.js'
import type { RunFolder } from './run-folder.js'
import type { Metrics, Task, TaskContext } from './task.js'
import { TextStates } from './text-states.js'
import { tokenMaps } from './token-maps.js'
import { openHeldOut } from './tokenizer-task.js'

/** Prompts longer than this may be dropped for guidance, as in the published program. */
const droppableLength = 20
const validationBatch = 32

/** A split of the data as the transformer sees it. */
interface Split {
  data: ImageCaptionDataset
  /** (N, L) indices over all scales */
  tokens: Int32Array
}

class TransformerTask implements Task {
  readonly model: StarTransformer
  readonly #config: TransformerRunConfig
  readonly #tokenizer: Tokenizer
  readonly #train: Split
  readonly #heldOut: Split | null
  readonly #text: TextStates
  readonly #device: string
  #random: Random

  constructor(parts: {
    config: TransformerRunConfig
    tokenizer: Tokenizer
    train: Split
    heldOut: Split | null
    text: TextStates
    device: string
  }) {
    this.#config = parts.config
    this.#tokenizer = parts.tokenizer
    this.#train = parts.train
    this.#heldOut = parts.heldOut
    this.#text = parts.text
    this.#device = parts.device
    this.#random = new Random(parts.config.seed)
    const { patchNums, vocabSize, latentChannels } = parts.tokenizer.config
    this.model = new StarTransformer(
      { ...parts.config.model, patchNums, vocabSize, latentChannels, textWidth: parts.text.width },
      { init: this.#random, device: parts.device },
    )
  }

  get sampleCount(): number {
    return this.#train.data.length
  }

  forwardBackward(samples: readonly number[]): Metrics {
    const captions = samples.map((i) => {
      const caption = this.#train.data.caption(i, this.#random)
      const dropped = this.#random.next() < this.#config.textDropout
      return dropped && caption.length > droppableLength ? '' : caption
    })
    const { logits, targets } = this.#forward(this.#train, samples, captions, this.#random)
    const loss = tokenLoss(logits, targets, { labelSmoothing: this.#config.labelSmoothing })
    const metrics = flatMetrics(tokenMetrics(logits, targets, this.model.config.patchNums))
    backward(loss)
    return { loss: loss.item(), ...metrics }
  }

  /** Loss and accuracy on held-out images with their first caption. */
  validate(): Metrics {
    const split = this.#heldOut
    if (!split) return {}
    const sums: Metrics = {}
    for (let begin = 0; begin < split.data.length; begin += validationBatch) {
      const samples = Array.from({ length: Math.min(validationBatch, split.data.length - begin) }, (_, i) => begin + i)
      noGrad(() =>
        scope(() => {
          const { logits, targets } = this.#forward(
            split,
            samples,
            samples.map((i) => split.data.captions(i)[0]),
            null,
          )
          for (const [name, value] of Object.entries(
            flatMetrics(tokenMetrics(logits, targets, this.model.config.patchNums)),
          ))
            sums[name] = (sums[name] ?? 0) + (value * samples.length) / split.data.length
        }),
      )
    }
    return sums
  }

  state(): unknown {
    return { random: this.#random.state() }
  }

  restore(state: unknown): void {
    this.#random = Random.restore((state as { random: ReturnType<Random['state']> }).random)
  }

  exportTo(folder: string): void {
    writeModelFolder(folder, {
      config: {
        name: this.#config.name,
        tokenizer: this.#tokenizer.config,
        transformer: this.model.config,
        textEncoder: textEncoderReference(this.#config.textEncoder),
        sampling: this.#config.sampling,
      },
      tokenizer: this.#tokenizer,
      transformer: this.model,
      dtype: 'f16',
    })
  }

  dispose(): void {
    this.model.dispose()
    this.#tokenizer.dispose()
    this.#text.dispose()
    this.#train.data.close()
    this.#heldOut?.data.close()
  }

  #forward(
    split: Split,
    samples: readonly number[],
    captions: readonly string[],
    random: Random | null,
  ): { logits: Tensor; targets: Tensor } {
    const { patchNums } = this.model.config
    const length = this.model.length
    const rows = samples.map((i) => split.tokens.subarray(i * length, (i + 1) * length))
    const targets = Tensor.from(joined(rows), [samples.length, length], { device: this.#device }) // (B, L)
    let begin = 0
    const maps = patchNums.map((p) => {
      const map = joined(rows.map((row) => row.subarray(begin, begin + p * p)))
      begin += p * p
      return Tensor.from(map, [samples.length, p * p], { device: this.#device }) // (B, p²)
    })
    const input = this.#tokenizer.quantizer.transformerInput(maps) // (B, L − p₁², Z)
    return { logits: this.model.forward({ input, text: this.#text.batch(captions, this.#device), random }), targets }
  }
}

function joined(rows: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(rows.reduce((n, row) => n + row.length, 0))
  let at = 0
  for (const row of rows) {
    all.set(row, at)
    at += row.length
  }
  return all
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
  const { device, signal, onProgress } = context
  const folder = findModelFolder(config.tokenizer)
  const tokenizer = new Tokenizer(readModelConfig(folder).tokenizer, { init: null, device })
  tokenizer.setTrainable(false)
  withModelWeights(folder, 'tokenizer', (weights) => tokenizer.load(weights))
  const tokenizerHash = createHash('sha256')
    .update(readFileSync(join(folder, 'tokenizer.safetensors')))
    .digest('hex')
    .slice(0, 16)

  const { packs, resolution } = config.data
  const open = (split: 'train' | 'held-out') =>
    ImageCaptionDataset.open(packs, {
      resolution,
      split,
      signal,
      onProgress: (done, total) => onProgress('decoding images', done, total),
    })
  const withTokens = async (data: ImageCaptionDataset): Promise<Split> => {
    const ids = Array.from({ length: data.length }, (_, i) => data.id(i)).join('\0')
    const hash = createHash('sha256')
      .update(tokenizerHash)
      .update(`${resolution}\0`)
      .update(ids)
      .digest('hex')
      .slice(0, 16)
    const file = run.file('cache', `tokens-${hash}.safetensors`)
    return {
      data,
      tokens: await tokenMaps(
        tokenizer,
        data,
        file,
        device,
        (done, total) => onProgress('token maps', done, total),
        signal,
      ),
    }
  }
  const train = await withTokens(await open('train'))
  const heldOutData = await openHeldOut(() => open('held-out'))
  const heldOut = heldOutData && (await withTokens(heldOutData))

  const captions = [train, heldOut].flatMap((split) =>
    split ? Array.from({ length: split.data.length }, (_, i) => split.data.captions(i)).flat() : [],
  )
  // Freed before the transformer is made.
  const encoder = loadTextEncoder(config.textEncoder, device)
  let text: TextStates
  try {
    text = await TextStates.build(
      encoder,
      ['', ...captions],
      (hash) => run.file('cache', `text-${hash}.safetensors`),
      (done, total) => onProgress('text states', done, total),
      signal,
    )
  } finally {
    encoder.dispose()
  }
  return new TransformerTask({ config, tokenizer, train, heldOut, text, device })
}
