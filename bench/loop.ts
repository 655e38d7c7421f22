/** What the training loop costs: steps of a Trainer, with loader, record and events, against the bare step on ready data. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writePack } from '../lib/data/index.js'
import { encodePng } from '../lib/data/png.js'
import { ProcessGroup } from '../lib/distributed/index.js'
import { StarTransformer, tokenLoss } from '../lib/models/star/index.js'
import { AdamW, noWeightDecay } from '../lib/optim/index.js'
import { backward, clearTape, keep, Random, scope, type Tensor } from '../lib/tensor/index.js'
import { openSource, TokenData } from '../lib/train/data/token-data.js'
import { RunFolder, runSchema, Trainer, type TransformerRunConfig } from '../lib/train/index.js'

const side = 64
const images = 64
const steps = 1000

export interface LoopTimes {
  bare_ms: number
  loop_ms: number
}

/** Writes a pack of pictures of random squares whose captions all have the same length. */
async function writeSquares(folder: string): Promise<string> {
  const path = join(folder, 'squares-000000')
  const random = new Random(1)
  const entries = Array.from({ length: images }, (_, i) => {
    const data = new Uint8Array(side * side * 3).fill(255)
    const [x0, y0, value] = [random.integer(32), random.integer(32), random.integer(256)]
    for (let y = y0; y < y0 + 32; y++) data.fill(value, (y * side + x0) * 3, (y * side + x0 + 32) * 3)
    const id = String(i).padStart(3, '0')
    const info = {
      id,
      basename: `${id}.png`,
      prompt: 'a square of one colour on white paper',
      width: side,
      height: side,
    }
    return {
      key: `squares-${id}`,
      info: { ...info, split: 'train' },
      image: encodePng({ width: side, height: side, data }),
    }
  })
  await writePack(path, entries)
  return path
}

/** A training of the size of the shipped model. */
export class LoopBench {
  readonly #folder: string
  readonly #config: TransformerRunConfig
  readonly #data: TokenData
  readonly #trainer: Trainer
  readonly #iterator: AsyncIterator<unknown>
  readonly #model: StarTransformer
  readonly #optimizer: AdamW
  readonly #ready: ReturnType<TokenData['batch']>

  private constructor(
    folder: string,
    config: TransformerRunConfig,
    data: TokenData,
    trainer: Trainer,
    ready: ReturnType<TokenData['batch']>,
  ) {
    this.#folder = folder
    this.#config = config
    this.#data = data
    this.#trainer = trainer
    this.#iterator = trainer[Symbol.asyncIterator]()
    this.#ready = ready
    const { patchNums, vocabSize, latentChannels } = data.tokenizer.config
    this.#model = new StarTransformer(
      { ...config.model, patchNums, vocabSize, latentChannels, textWidth: data.text.width },
      { init: new Random(1), scales: config.init },
    )
    const parameters = [...this.#model.namedTensors()].filter(({ trainable }) => trainable)
    this.#optimizer = new AdamW(parameters, { maxNorm: 2, noDecay: noWeightDecay })
  }

  static async open(): Promise<LoopBench> {
    const folder = mkdtempSync(join(tmpdir(), 'star-loop-'))
    const written = {
      kind: 'transformer',
      name: 'loop',
      runFolder: join(folder, 'run'),
      data: { packs: [await writeSquares(folder)], resolution: side },
      tokenizer: 'emoji-64',
      optimizer: { batchSize: 16, learningRate: 1e-4, steps },
      work: { logEvery: 1, saveEvery: steps, picturesEvery: 0, validateEvery: 0 },
      model: { depth: 6, width: 384, heads: 6, dropPath: 0 },
      textDropout: 0,
    }
    const config = runSchema.parse(written) as TransformerRunConfig
    const context = { device: 'cpu', onProgress: () => {}, signal: undefined, group: ProcessGroup.single() }
    const source = await openSource({ name: config.tokenizer, options: {} }, context)
    const data = await TokenData.open({ ...config, source }, new RunFolder(join(folder, 'bare')), context)
    const samples = await data.next(config.optimizer.batchSize, new Random(1), 0)
    const ready = scope(() => {
      const batch = data.batch(samples)
      for (const tensor of tensorsOf(batch)) keep(tensor)
      return batch
    })
    return new LoopBench(folder, config, data, await Trainer.open(written), ready)
  }

  /** Milliseconds of a step of each kind; the first is taken first where `bareFirst`. */
  async time(bareFirst: boolean): Promise<LoopTimes> {
    const times = { bare_ms: 0, loop_ms: 0 }
    const bare = async (): Promise<void> => {
      const begin = performance.now()
      this.#step()
      times.bare_ms = performance.now() - begin
    }
    const loop = async (): Promise<void> => {
      const begin = performance.now()
      await this.#iterator.next()
      times.loop_ms = performance.now() - begin
    }
    for (const side of bareFirst ? [bare, loop] : [loop, bare]) await side()
    return times
  }

  #step(): void {
    scope(() => {
      const { input, text, targets } = this.#ready
      const loss = tokenLoss(this.#model.forward({ input, text }), targets, this.#config)
      backward(loss)
      this.#optimizer.step({ lr: 1e-4, weightDecay: 0.05 })
      this.#model.zeroGrad()
      loss.item()
    })
  }

  dispose(): void {
    clearTape()
    for (const tensor of tensorsOf(this.#ready)) tensor.dispose()
    this.#optimizer.dispose()
    this.#model.dispose()
    this.#data.dispose()
    this.#trainer.dispose()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

const tensorsOf = ({ maps, targets, input, text }: ReturnType<TokenData['batch']>): Tensor[] => [
  ...maps,
  targets,
  input,
  text.states,
  text.pooled,
  text.mask,
]
