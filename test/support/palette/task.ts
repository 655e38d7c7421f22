/** Training of a palette: rows of colours move to the mean of the images. */
import { toTensor } from '../../../lib/data/index.js'
import { Module } from '../../../lib/nn/index.js'
import { mean, mul, noGrad, reshape, scope, sub, sumRows, Tensor } from '../../../lib/tensor/index.js'
import type { Resolved } from '../../../lib/train/config/resolve.js'
import type { Batch } from '../../../lib/train/data/batch.js'
import type { TaskContext } from '../../../lib/train/data/context.js'
import { type Loaders, openLoaders } from '../../../lib/train/data/loaders.js'
import { type Figures, type FrozenParts, type Metrics, scalars, type Task } from '../../../lib/train/kinds/task.js'
import type { RunFolder } from '../../../lib/train/run-folder/run-folder.js'
import type { PaletteConfig } from './config.js'

class Palette extends Module {
  readonly weight: Tensor

  constructor(colours: number, device: string) {
    super()
    this.weight = this.param('weight', Tensor.from(new Float32Array(3 * colours), [colours, 3], { device }))
  }
}

interface ImageBatch extends Batch {
  pixels: readonly Uint8Array[]
}

class PaletteTask implements Task<ImageBatch, readonly Uint8Array[]> {
  readonly model: Palette
  readonly sides = [1]
  readonly frozen: FrozenParts = {}
  readonly source = null

  constructor(
    private readonly config: Resolved<PaletteConfig>,
    private readonly loaders: Loaders,
    private readonly device: string,
  ) {
    this.model = new Palette(config.colours, device)
  }

  async next(count: number): Promise<ImageBatch> {
    const { samples, epoch } = await this.loaders.train.next(count)
    return { ids: samples.map(({ id }) => id), epoch, pixels: samples.map(({ pixels }) => pixels!) }
  }

  split({ pixels }: ImageBatch, count: number): (readonly Uint8Array[])[] {
    const size = pixels.length / count
    return Array.from({ length: count }, (_, i) => pixels.slice(i * size, (i + 1) * size))
  }

  forwardBackward(pixels: readonly Uint8Array[], _step: number, backward: (loss: Tensor) => void): Figures {
    const loss = this.#distance(pixels)
    backward(loss)
    return { values: scalars([loss]), named: ([mean]) => ({ loss: mean }) }
  }

  #distance(pixels: readonly Uint8Array[]): Tensor {
    const images = toTensor(pixels, this.config.data.resolution, { device: this.device })
    const rows = reshape(images, [-1, 3])
    const colour = mul(sumRows(rows), 1 / rows.dim(0)) // (3)
    return mean(mul(sub(this.model.weight, colour), sub(this.model.weight, colour)))
  }

  async validate(): Promise<Metrics> {
    const { heldOut } = this.loaders
    if (!heldOut) return {}
    for await (const { samples } of heldOut.pass(16))
      return { distance: noGrad(() => scope(() => this.#distance(samples.map(({ pixels }) => pixels!)).item())) }
    return {}
  }

  async pictures(): Promise<[]> {
    return []
  }

  state(): unknown {
    return this.loaders.position.state()
  }

  restore(state: unknown): void {
    this.loaders.position.restore(state)
  }

  modelConfig(): ReturnType<Task['modelConfig']> {
    return { name: 'palette', tokenizer: {} }
  }

  dispose(): void {
    this.model.dispose()
    this.loaders.dispose()
  }
}

export const openData = (config: PaletteConfig, run: RunFolder, context: TaskContext): Promise<Loaders> =>
  openLoaders(config, run, context)

export const createTask = (config: Resolved<PaletteConfig>, loaders: Loaders, context: TaskContext): Task =>
  new PaletteTask(config, loaders, context.device)
