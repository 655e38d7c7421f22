/** A training run: steps, and between them log, validation, sample pictures and checkpoints; resumed exactly where it was. */
import { existsSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { SamplerHead, StarTransformer } from '../models/star/index.js'
import { StarError } from '../native/index.js'
import { resolveDevice, tellFallback } from '../tensor/index.js'
import { type CheckpointParts, checkpointContent, loadCheckpoint } from './checkpoint.js'
import { Checkpointer } from './checkpointer.js'
import { inSteps, type OptimizerInSteps } from './config/optimizer.js'
import { type WorkInSteps, workInSteps } from './config/work.js'
import type { RunConfig } from './config.js'
import { Recorder } from './recording/recorder.js'
import { readRunConfig, resolveRunConfig } from './run-config.js'
import { runFacts } from './run-facts.js'
import { RunFolder } from './run-folder.js'
import { openSamplerTask } from './sampler-task.js'
import { startRun } from './start.js'
import { Stepper, type StepResult } from './stepper.js'
import type { Metrics, Task, TaskContext } from './task.js'
import { openTokenizerTask } from './tokenizer-task.js'
import { openTransformerTask } from './transformer-task.js'
import { Validator } from './validator.js'

export interface TrainerOptions {
  /** Device to train on: 'cpu' (the default), 'cuda', or 'auto' for a GPU where one is available. */
  device?: string
  /** Aborting saves a checkpoint and ends the iteration after the current step. */
  signal?: AbortSignal
  /** Told what is being prepared (downloads, models) and how far it is. */
  onProgress?: (what: string, done: number, total: number) => void
}

/** What one step of the iteration yields. */
export interface TrainStep extends StepResult {
  totalSteps: number
  loss: number
  /** Samples per second over this step. */
  samplesPerSecond: number
}

export class Trainer implements AsyncIterable<TrainStep> {
  readonly #task: Task
  readonly #stepper: Stepper
  readonly #checkpointer: Checkpointer
  readonly #validator: Validator
  #recorder!: Recorder
  #saveAsked = false

  private constructor(
    /** The configuration, with lengths and intervals in steps. */
    readonly config: RunConfig & { optimizer: OptimizerInSteps; work: WorkInSteps },
    readonly run: RunFolder,
    /** Device it trains on. */
    readonly device: string,
    task: Task,
    readonly signal: AbortSignal | undefined,
  ) {
    this.#task = task
    this.#stepper = new Stepper(task, config.optimizer, config.precision)
    this.#checkpointer = new Checkpointer(run.path, config.work.keep)
    this.#validator = new Validator(config.kind, config.work.validateEvery)
  }

  /**
   * Opens the run a configuration describes; a run folder with a checkpoint goes on from it.
   * @param config a JSON file, or its parsed content
   * @throws ERR_CONFIG for an unknown or ill-typed key, ERR_FILE for missing data or a broken checkpoint, ERR_SHAPE for a
   * checkpoint of another architecture, ERR_DEVICE for a device that is unknown or not available
   */
  static async open(config: string | object, options: TrainerOptions = {}): Promise<Trainer> {
    const { config: parsed, notices } =
      typeof config === 'string' ? readRunConfig(config) : resolveRunConfig(config, 'the configuration')
    const run = new RunFolder(parsed.runFolder)
    const asked = options.device ?? 'cpu'
    const device = resolveDevice(asked)
    const context = {
      device,
      onProgress: options.onProgress ?? (() => {}),
      signal: options.signal,
    }
    const task = await openTask(parsed, run, context)
    const resolved = {
      ...parsed,
      optimizer: inSteps(parsed.optimizer, task.sampleCount),
      work: workInSteps(parsed.work, task.sampleCount === null ? null : task.sampleCount / parsed.optimizer.batchSize),
    }
    const trainer = new Trainer(resolved, run, device, task, options.signal)
    try {
      if (!trainer.#resume()) await trainer.#start(context)
      trainer.#recorder = new Recorder({ folder: run.path, step: trainer.step, sides: task.sides })
    } catch (error) {
      trainer.dispose()
      throw error
    }
    run.writeJson('config.json', parsed)
    run.writeJson('run.json', runFacts(parsed.data, device, 1))
    for (const notice of notices) run.log(notice)
    tellFallback(asked, device)
    return trainer
  }

  get step(): number {
    return this.#stepper.step
  }

  get totalSteps(): number {
    return this.config.optimizer.steps
  }

  get done(): boolean {
    return this.step >= this.totalSteps
  }

  get parameterCount(): number {
    return this.#task.model.parameterCount()
  }

  #parts(): CheckpointParts {
    return { model: this.#stepper.weights, optimizer: this.#stepper.optimizer, ema: this.#stepper.ema }
  }

  /** Takes the weights that the run is to begin with. */
  async #start(context: TaskContext): Promise<void> {
    const { config } = this
    if (config.kind === 'tokenizer' || !config.start) return
    const model = this.#task.model as StarTransformer | SamplerHead
    const part = config.kind === 'sampler' ? 'sampler-head' : 'transformer'
    this.run.log(await startRun(config.start, part, model.config, this.#parts(), context))
  }

  /** Takes up the newest checkpoint that is whole. @returns whether there was one */
  #resume(): boolean {
    for (const { file, step } of this.#checkpointer.list()) {
      try {
        const state = loadCheckpoint(file, this.#parts())
        this.#stepper.step = state.step
        if (state.lossScale) this.#stepper.scaler?.restore(state.lossScale)
        this.#validator.restore(state.validation)
        this.#task.restore(state.task)
        this.run.log(`goes on from step ${step}`)
        return true
      } catch (error) {
        // A checkpoint that a crash or a disk has damaged is passed over for the one before it; another model's is the user's
        // mistake.
        if (!(error instanceof StarError)) throw error
        if (error.code !== 'ERR_FILE')
          throw new StarError(
            error.code,
            `${file} does not belong to this configuration: ${error.message}; name another "runFolder", or remove this one`,
          )
        this.run.log(`passed over ${file}: ${error.message}`)
      }
    }
    return false
  }

  /** Writes a checkpoint of the current step; resolves with its file when it is on the disk. */
  async save(): Promise<string> {
    await this.#save()
    await this.#checkpointer.settled()
    return this.#checkpointer.file(this.step)
  }

  /** Asks for a checkpoint after the current step, while the iteration goes on. */
  requestSave(): void {
    this.#saveAsked = true
  }

  async #save(): Promise<void> {
    this.#saveAsked = false
    const state = {
      step: this.step,
      task: this.#task.state(),
      lossScale: this.#stepper.scaler?.state(),
      validation: this.#validator.state(),
    }
    const best = this.config.work.keepBest ? (this.#validator.best?.step ?? null) : null
    await this.#checkpointer.save(this.step, checkpointContent(this.#parts(), state, this.config), best)
  }

  /** Held-out figures with the averaged weights (the trained ones when no average is kept). */
  async validate(): Promise<Metrics> {
    return this.#stepper.withAverage(async () => (await this.#task.validate?.()) ?? {})
  }

  /** Writes the model for use into the run's `model` folder and returns it. */
  async export(): Promise<string> {
    const folder = this.run.file('model')
    await this.#task.exportTo(folder, this.#stepper)
    return folder
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TrainStep> {
    try {
      while (!this.done) {
        if (this.signal?.aborted) {
          await this.save()
          this.run.log(`stopped at step ${this.step}; the same command goes on from here`)
          return
        }
        const step = await this.#runStep()
        await this.#afterStep(step)
        yield step
        // Signals and timers are handled between steps.
        await nextTurn()
      }
      // The process may have ended between the last checkpoint and the export.
      if (!existsSync(this.run.file('model', 'model.json'))) await this.export()
    } catch (error) {
      this.#logEnd(error)
      throw error
    }
    await this.#checkpointer.settled()
  }

  #logEnd(error: unknown): void {
    try {
      this.run.log(`ended at step ${this.step}: ${error instanceof Error ? error.message : String(error)}`)
    } catch {
      // A disk that is full takes no more lines; what ended the run is thrown to the caller.
    }
  }

  async #runStep(): Promise<TrainStep> {
    const begun = performance.now()
    const result = await this.#stepper.run()
    const samplesPerSecond = (1000 * result.ids.length) / (performance.now() - begun)
    return { ...result, totalSteps: this.totalSteps, loss: result.metrics.loss, samplesPerSecond }
  }

  /** What is due after a step: record, validation, pictures, checkpoint, and the model at the end. */
  async #afterStep(result: TrainStep): Promise<void> {
    const { work } = this.config
    const { step, epoch } = result
    const last = this.done
    let save = this.#saveAsked || step % work.saveEvery === 0 || last
    if (step % work.logEvery === 0 || last) this.#recorder.metrics(step, recorded(result))
    if (this.#validator.due(step, epoch, last)) {
      const held = await this.validate()
      const better = this.#validator.take(step, held)
      save ||= better && work.keepBest
      const named = Object.fromEntries(Object.entries(held).map(([name, value]) => [`val/${name}`, value]))
      Object.assign(result.metrics, named)
      if (Object.keys(held).length > 0) {
        this.#recorder.metrics(step, named)
        this.run.log(`step ${step}, held-out images: ${inWords(held)}${better ? ' (the best so far)' : ''}`)
      }
    }
    if (work.picturesEvery > 0 && (step % work.picturesEvery === 0 || last)) {
      const pictures = await this.#stepper.withAverage(() => this.#task.pictures(work.prompts))
      this.#recorder.pictures(step, epoch, pictures)
    }
    if (save) await this.#save()
    if (last) await this.export()
  }

  dispose(): void {
    this.#task.dispose()
    this.#stepper.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

function openTask(config: RunConfig, run: RunFolder, context: TaskContext): Promise<Task> {
  switch (config.kind) {
    case 'tokenizer':
      return openTokenizerTask(config, run, context)
    case 'transformer':
      return openTransformerTask(config, run, context)
    case 'sampler':
      return openSamplerTask(config, run, context)
  }
}

/** The figures of a step, as they are logged. */
export function recorded(result: TrainStep): Metrics {
  const { epoch, loss, learningRate, weightDecay, gradNorm, samplesPerSecond, metrics } = result
  return { epoch, loss, learningRate, weightDecay, gradNorm, samplesPerSecond, ...metrics }
}

const inWords = (metrics: Metrics): string =>
  Object.entries(metrics)
    .map(([name, value]) => `${name} ${value.toFixed(4)}`)
    .join(', ')
