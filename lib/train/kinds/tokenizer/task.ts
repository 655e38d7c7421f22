/** Training of the image tokenizer: reconstruction and quantizer loss, a codebook kept alive. */

import { type LoadedSample, toTensor } from '../../../data/index.js'
import {
  pixelsOf as bytesOf,
  psnr,
  scaleSides,
  Tokenizer,
  tokenizerObjective,
} from '../../../models/tokenizer/index.js'
import { StarError } from '../../../native/index.js'
import { noGrad, Random, scope, Tensor } from '../../../tensor/index.js'
import type { ModelFolderContent } from '../../../weights/index.js'
import type { Resolved } from '../../config/resolve.js'
import type { Batch } from '../../data/batch.js'
import type { TaskContext } from '../../data/context.js'
import { type Loaders, openLoaders } from '../../data/loaders.js'
import type { RecordedSample } from '../../run-folder/recorder.js'
import type { RunFolder } from '../../run-folder/run-folder.js'
import { sideBySide } from '../sample-pictures.js'
import { type Figures, type FrozenParts, type Metrics, scalars, type Task } from '../task.js'
import type { TokenizerRunConfig } from './config.js'
import { StepVectors } from './step-vectors.js'

/** Images whose features make the first codebook. */
const initialImages = 128
const validationBatch = 16
/** Held-out images among the sample pictures. */
const shownImages = 8

/** Training images as bytes (resolution, resolution, 3). */
interface ImageBatch extends Batch {
  pixels: readonly Uint8Array[]
  /** With the first batch of a run: the images whose features make the codebook. */
  initial: readonly Uint8Array[] | null
}

/** A micro-batch. */
interface Part extends Omit<ImageBatch, keyof Batch> {
  /** Whether the batch ends with it. */
  last: boolean
}

class TokenizerTask implements Task<ImageBatch, Part> {
  readonly frozen: FrozenParts = {}
  readonly source = null
  readonly model: Tokenizer
  readonly #config: Resolved<TokenizerRunConfig>
  readonly #loaders: Loaders
  readonly #context: TaskContext
  #random: Random
  /** Of the step at hand: uses of the codebook's rows, summed over this process's micro-batches, and the vectors for a revival. */
  #counts: Float32Array | null = null
  #vectors: StepVectors | null = null
  #initialized = false

  constructor(config: Resolved<TokenizerRunConfig>, loaders: Loaders, context: TaskContext) {
    const { device } = context
    this.#config = config
    this.#loaders = loaders
    this.#context = context
    this.#random = new Random(config.seed)
    this.model = new Tokenizer(config.model, { init: this.#random, device })
  }

  get sides(): readonly number[] {
    return scaleSides(this.#config.model)
  }

  async next(count: number): Promise<ImageBatch> {
    const initial = this.#initialized ? null : await this.#initialPixels()
    this.#initialized = true
    const { samples, epoch } = await this.#loaders.train.next(count)
    return { ids: samples.map(({ id }) => id), epoch, pixels: pixelsOf(samples), initial }
  }

  split({ pixels, initial }: ImageBatch, count: number): Part[] {
    // What a step that was left out had gathered.
    this.#forget()
    const size = pixels.length / count
    return Array.from({ length: count }, (_, i) => ({
      pixels: pixels.slice(i * size, (i + 1) * size),
      initial: i === 0 ? initial : null,
      last: i === count - 1,
    }))
  }

  forwardBackward({ pixels, initial, last }: Part, step: number, backward: (loss: Tensor) => void): Figures {
    const images = this.#tensor(pixels)
    if (initial) this.#initialize(initial)
    const { loss, terms, indices, vectors } = tokenizerObjective(this.model, images, this.#config.loss)
    const { codebook } = this.model.quantizer
    const counts = codebook.count(indices)
    const before = this.#counts
    this.#counts = before ? counts.map((n, i) => n + before[i]) : counts
    if (this.#revives(step + 1)) {
      this.#vectors ??= new StepVectors(this.#config.model.patchNums, this.#context)
      this.#vectors.add(vectors)
    }
    // Ahead of the gradients, which the processes exchange from here on.
    const all = last ? this.#overAll(this.#counts) : null
    backward(loss)
    if (all) codebook.record(all())
    const usage = last ? codebook.usage() : null
    const names = Object.keys(terms)
    return {
      values: scalars([loss, ...Object.values<Tensor>(terms)]),
      named: ([mean, ...means]) => ({
        loss: mean,
        ...Object.fromEntries(names.map((name, i) => [name, means[i]])),
        psnr: psnr(means[names.indexOf('l2')]),
        ...(usage && { usage: usage.overall, perplexity: usage.perplexity }),
      }),
    }
  }

  afterStep(step: number): void {
    const vectors = this.#vectors
    if (this.#revives(step) && vectors) {
      // A row that met less than a twentieth of an even share has had its chance.
      const tokens = this.#config.optimizer.batchSize * this.#config.model.patchNums.reduce((n, p) => n + p * p, 0)
      const below = (0.05 * tokens) / this.#config.model.vocabSize
      scope(() => this.model.quantizer.codebook.revive(vectors, this.#random, { below }))
    }
    this.#forget()
  }

  #forget(): void {
    this.#vectors?.dispose()
    this.#vectors = null
    this.#counts = null
  }

  /** The first codebook, from the same images on all processes; where each has its own (tars), from those of the first. */
  #initialize(images: readonly Uint8Array[]): void {
    scope(() => this.model.initializeCodebook(this.#tensor(images), this.#random))
    this.#context.group.broadcast(this.model.quantizer.codebook.weight, 0).wait()
  }

  /** Begins to sum counts over all processes. @returns waits for the sums, exact up to 2^24 */
  #overAll(counts: Float32Array): () => Float32Array {
    const { group, device } = this.#context
    if (group.size === 1) return () => counts
    const sums = Tensor.from(counts, [counts.length], { device })
    const work = group.allReduce(sums)
    return () => {
      work.wait()
      return sums.floats()
    }
  }

  /** PSNR of held-out images after the round trip through tokens. */
  async validate(): Promise<Metrics> {
    const { heldOut } = this.#loaders
    if (!heldOut) return {}
    let [squares, count] = [0, 0]
    for await (const { samples } of heldOut.pass(validationBatch)) {
      squares += noGrad(() =>
        scope(() => {
          const images = this.#tensor(pixelsOf(samples))
          const given = this.model.reconstruct(images).floats()
          return images.floats().reduce((sum, v, i) => sum + (v - given[i]) ** 2, 0)
        }),
      )
      count += samples.length
    }
    return { psnr: psnr(squares / (count * this.#config.data.resolution ** 2 * 3)), images: count }
  }

  /** Held-out images, each beside what is left of it after the round trip through tokens. */
  async pictures(): Promise<RecordedSample[]> {
    const { heldOut } = this.#loaders
    const side = this.#config.data.resolution
    if (!heldOut) return []
    for await (const { samples } of heldOut.pass(shownImages)) {
      const given = pixelsOf(samples)
      const back = noGrad(() => scope(() => bytesOf(this.model.reconstruct(this.#tensor(given)))))
      return samples.map(({ id }, i) => ({ prompt: id, picture: sideBySide([given[i], back[i]], side) }))
    }
    return []
  }

  state(): unknown {
    return { random: this.#random.state(), data: this.#loaders.position.state() }
  }

  restore(state: unknown): void {
    const { random, data } = state as { random: ReturnType<Random['state']>; data: unknown }
    this.#random = Random.restore(random)
    this.#loaders.position.restore(data)
    this.#initialized = true
  }

  modelConfig(): ModelFolderContent['config'] {
    return { name: 'tokenizer', tokenizer: this.#config.model }
  }

  dispose(): void {
    this.model.dispose()
    this.#forget()
    this.#loaders.dispose()
  }

  #revives(step: number): boolean {
    const { reviveEvery, reviveUntil, optimizer } = this.#config
    return reviveEvery > 0 && step % reviveEvery === 0 && step <= reviveUntil * optimizer.steps
  }

  /** The first images of the order over all processes, which the training will meet again. */
  async #initialPixels(): Promise<Uint8Array[]> {
    const { train } = this.#loaders
    const { samples } = await train.peek(Math.min(initialImages, train.length ?? initialImages))
    return pixelsOf(samples)
  }

  #tensor(pixels: readonly Uint8Array[]): Tensor {
    return toTensor(pixels, this.#config.data.resolution, { device: this.#context.device })
  }
}

/** A loader without a cache gives the pixels of all samples. */
const pixelsOf = (samples: readonly LoadedSample[]): Uint8Array[] => samples.map(({ pixels }) => pixels!)

export async function openData(config: TokenizerRunConfig, run: RunFolder, context: TaskContext): Promise<Loaders> {
  const { resolution } = config.data
  const side =
    config.model.patchNums[config.model.patchNums.length - 1] * 2 ** (config.model.channelMultipliers.length - 1)
  if (side !== resolution)
    throw new StarError(
      'ERR_CONFIG',
      `"data.resolution" is ${resolution}, but the model takes ${side} pixels (last of patchNums times 2 per level): set one by the other`,
    )
  return openLoaders(config, run, context)
}

export const createTask = (config: Resolved<TokenizerRunConfig>, loaders: Loaders, context: TaskContext): Task =>
  new TokenizerTask(config, loaders, context)
