/** Training of the image tokenizer: reconstruction and quantizer loss, a codebook kept alive. */
import { writeModelFolder } from '../checkpoint/index.js'
import { ImageCaptionDataset, Loader, type SamplerState, toTensor } from '../data/index.js'
import { psnr, Tokenizer, tokenizerObjective } from '../models/tokenizer/index.js'
import { StarError } from '../native/index.js'
import { backward, keep, noGrad, Random, scope, type Tensor } from '../tensor/index.js'
import { inSteps } from './config/optimizer.js'
import type { TokenizerRunConfig } from './config.js'
import type { RunFolder } from './run-folder.js'
import type { Batch, Metrics, Task, TaskContext } from './task.js'

/** Images whose features make the first codebook. */
const initialImages = 128

/** Training images as bytes (resolution, resolution, 3), and which are to be mirrored. */
interface ImageBatch extends Batch {
  pixels: readonly Uint8Array[]
  mirrored: readonly boolean[]
  /** With the first batch of a run: the images whose features make the codebook. */
  initial: readonly Uint8Array[] | null
}

class TokenizerTask implements Task<ImageBatch> {
  readonly model: Tokenizer
  readonly #config: TokenizerRunConfig
  readonly #data: ImageCaptionDataset
  readonly #heldOut: ImageCaptionDataset | null
  readonly #device: string
  readonly #loader: Loader
  #random: Random
  #vectors: Tensor | null = null
  #initialized = false

  constructor(
    config: TokenizerRunConfig,
    data: ImageCaptionDataset,
    heldOut: ImageCaptionDataset | null,
    device: string,
  ) {
    this.#config = config
    this.#data = data
    this.#heldOut = heldOut
    this.#device = device
    this.#loader = new Loader(data, { seed: config.seed })
    this.#random = new Random(config.seed)
    this.model = new Tokenizer(config.model, { init: this.#random, device })
  }

  get sampleCount(): number {
    return this.#loader.share
  }

  async next(count: number): Promise<ImageBatch> {
    const { samples, epoch } = await this.#loader.next(count)
    const mirrored = samples.map(() => this.#random.next() < this.#config.data.flip)
    const initial = this.#initialized ? null : await this.#initialPixels()
    this.#initialized = true
    return { ids: samples.map(({ id }) => id), epoch, pixels: samples.map(({ pixels }) => pixels), mirrored, initial }
  }

  forwardBackward({ pixels, mirrored, initial }: ImageBatch, step: number): Metrics {
    const images = this.#tensor(pixels, mirrored)
    if (initial) scope(() => this.model.initializeCodebook(this.#tensor(initial), this.#random))
    const { loss, terms, indices, vectors } = tokenizerObjective(this.model, images, this.#config.loss)
    backward(loss)
    const { codebook } = this.model.quantizer
    codebook.record(codebook.count(indices))
    if (this.#revives(step + 1)) this.#vectors = keep(vectors.detach())
    const usage = codebook.usage()
    return {
      loss: loss.item(),
      l1: terms.l1.item(),
      l2: terms.l2.item(),
      detail: terms.detail.item(),
      quantizer: terms.quantizer.item(),
      psnr: psnr(terms.l2.item()),
      usage: usage.overall,
      perplexity: usage.perplexity,
    }
  }

  afterStep(step: number): void {
    if (!this.#revives(step) || !this.#vectors) return
    // A row that met less than a twentieth of an even share has had its chance.
    const tokens = this.#config.optimizer.batchSize * this.#config.model.patchNums.reduce((n, p) => n + p * p, 0)
    this.model.quantizer.codebook.revive(this.#vectors, this.#random, {
      below: (0.05 * tokens) / this.#config.model.vocabSize,
    })
    this.#vectors.dispose()
    this.#vectors = null
  }

  /** PSNR of held-out images after the round trip through tokens. */
  async validate(): Promise<Metrics> {
    const data = this.#heldOut
    if (!data) return {}
    let squares = 0
    const chunk = 16
    for (let begin = 0; begin < data.length; begin += chunk) {
      const samples = Array.from({ length: Math.min(chunk, data.length - begin) }, (_, i) => begin + i)
      const pixels = await Promise.all(samples.map((i) => data.load(i)))
      squares += noGrad(() =>
        scope(() => {
          const images = this.#tensor(pixels)
          const given = this.model.reconstruct(images).floats()
          return images.floats().reduce((sum, v, i) => sum + (v - given[i]) ** 2, 0)
        }),
      )
    }
    return { psnr: psnr(squares / (data.length * data.resolution ** 2 * 3)), images: data.length }
  }

  state(): unknown {
    return { random: this.#random.state(), data: this.#loader.state() }
  }

  restore(state: unknown): void {
    const { random, data } = state as { random: ReturnType<Random['state']>; data: SamplerState }
    this.#random = Random.restore(random)
    this.#loader.restore(data)
    this.#initialized = true
  }

  exportTo(folder: string): void {
    writeModelFolder(folder, { config: { name: 'tokenizer', tokenizer: this.#config.model }, tokenizer: this.model })
  }

  dispose(): void {
    this.model.dispose()
    this.#vectors?.dispose()
    this.#data.close()
    this.#heldOut?.close()
  }

  #revives(step: number): boolean {
    const { reviveEvery, reviveUntil, optimizer } = this.#config
    const { steps } = inSteps(optimizer, this.sampleCount)
    return reviveEvery > 0 && step % reviveEvery === 0 && step <= reviveUntil * steps
  }

  #initialPixels(): Promise<Uint8Array[]> {
    const { length } = this.#data
    const samples = Array.from({ length: Math.min(initialImages, length) }, () => this.#random.integer(length))
    return Promise.all(samples.map((i) => this.#data.load(i)))
  }

  #tensor(pixels: readonly Uint8Array[], flip?: readonly boolean[]): Tensor {
    return toTensor(pixels, this.#data.resolution, { device: this.#device, flip })
  }
}

export async function openTokenizerTask(
  config: TokenizerRunConfig,
  _run: RunFolder,
  context: TaskContext,
): Promise<Task> {
  const { packs, resolution } = config.data
  const side =
    config.model.patchNums[config.model.patchNums.length - 1] * 2 ** (config.model.channelMultipliers.length - 1)
  if (side !== resolution)
    throw new StarError(
      'ERR_CONFIG',
      `"data.resolution" is ${resolution}, but the model takes ${side} pixels (last of patchNums times 2 per level): set one by the other`,
    )
  const progress = (done: number, total: number) => context.onProgress('decoding images', done, total)
  const open = (split: 'train' | 'held-out') =>
    ImageCaptionDataset.open(packs, { resolution, split, onProgress: progress, signal: context.signal })
  const data = await open('train')
  return new TokenizerTask(config, data, await openHeldOut(() => open('held-out')), context.device)
}

/** The held-out part, or null where the packs name none. */
export async function openHeldOut<T>(open: () => Promise<T>): Promise<T | null> {
  try {
    return await open()
  } catch (error) {
    if (error instanceof StarError && error.code === 'ERR_CONFIG') return null
    throw error
  }
}
