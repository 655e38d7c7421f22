/**
 * The training loop shared by all kinds of training: batches in order, schedule, optimizer step, averaged weights,
 * log, checkpoints, and resuming exactly where the last checkpoint was written.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { StarError } from '../native/index.js'
import { resolveDevice, tellFallback } from '../tensor/index.js'
import { type CheckpointParts, loadCheckpoint, saveCheckpoint } from './checkpoint.js'
import { inSteps, type OptimizerInSteps } from './config/optimizer.js'
import { type WorkInSteps, workInSteps } from './config/work.js'
import type { RunConfig } from './config.js'
import { readRunConfig, resolveRunConfig } from './run-config.js'
import { RunFolder } from './run-folder.js'
import { openSamplerTask } from './sampler-task.js'
import { Stepper, type StepResult } from './stepper.js'
import type { Metrics, Task, TaskContext } from './task.js'
import { openTokenizerTask } from './tokenizer-task.js'
import { openTransformerTask } from './transformer-task.js'

export interface TrainerOptions {
  /** Device to train on: 'cpu' (the default), 'cuda', or 'auto' for a GPU where one is available. */
  device?: string
  /** Aborting saves a checkpoint and ends the iteration after the current step. */
  signal?: AbortSignal
  /** Told what is being prepared (token maps, text states) and how far it is. */
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
  }

  /**
   * Opens the run a configuration describes; a run folder with a checkpoint goes on from it.
   * @param config a JSON file, or its parsed content
   * @throws ERR_CONFIG for an unknown or ill-typed key, ERR_FILE for missing data or a broken checkpoint, ERR_DEVICE for a
   * device that is unknown or not available
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
    const images = task.sampleCount
    const stepsPerEpoch = images === null ? null : images / parsed.optimizer.batchSize
    const resolved = {
      ...parsed,
      optimizer: inSteps(parsed.optimizer, images),
      work: workInSteps(parsed.work, stepsPerEpoch),
    }
    const trainer = new Trainer(resolved, run, device, task, options.signal)
    trainer.#resume()
    run.writeConfig(parsed)
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

  #resume(): void {
    const parts = this.#parts()
    for (const { file, step } of this.run.checkpoints()) {
      try {
        const state = loadCheckpoint(file, parts)
        this.#stepper.step = state.step
        if (state.lossScale) this.#stepper.scaler?.restore(state.lossScale)
        this.#task.restore(state.task)
        this.run.log(`resumed from step ${step}`)
        return
      } catch (error) {
        // A checkpoint cut short by a crash is passed over for the one before it; another model's is the user's mistake.
        if (!(error instanceof StarError) || error.code !== 'ERR_FILE') throw error
        this.run.log(`skipped ${file}: ${error.message}`)
      }
    }
  }

  /** Writes a checkpoint of the current step and returns its file. */
  save(): string {
    const file = this.run.checkpointFile(this.step)
    const state = { step: this.step, task: this.#task.state(), lossScale: this.#stepper.scaler?.state() }
    saveCheckpoint(file, this.#parts(), state, this.config)
    this.run.prune(this.config.work.keep)
    return file
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
    const { work } = this.config
    while (!this.done) {
      if (this.signal?.aborted) {
        this.save()
        this.run.log(`stopped at step ${this.step}; the same command goes on from here`)
        return
      }
      const step = await this.#runStep()
      const last = this.done
      if (this.step % work.logEvery === 0 || last) this.run.metrics(flat(step))
      if ((work.validateEvery > 0 && this.step % work.validateEvery === 0) || last) {
        const held = await this.validate()
        if (Object.keys(held).length > 0) {
          this.run.metrics({
            step: this.step,
            ...Object.fromEntries(Object.entries(held).map(([k, v]) => [`val/${k}`, v])),
          })
          this.run.log(
            `step ${this.step}: ${Object.entries(held)
              .map(([k, v]) => `${k} ${v.toFixed(4)}`)
              .join(', ')}`,
          )
          Object.assign(step.metrics, Object.fromEntries(Object.entries(held).map(([k, v]) => [`val/${k}`, v])))
        }
      }
      if (this.step % work.saveEvery === 0 || last) this.save()
      if (last) await this.export()
      yield step
      // Signals and timers are handled between steps.
      await nextTurn()
    }
  }

  async #runStep(): Promise<TrainStep> {
    const begun = performance.now()
    const result = await this.#stepper.run()
    const samplesPerSecond = (1000 * result.ids.length) / (performance.now() - begun)
    return { ...result, totalSteps: this.totalSteps, loss: result.metrics.loss, samplesPerSecond }
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

function flat(step: TrainStep): Record<string, number> {
  const { metrics, totalSteps: _, ids: __, ...rest } = step
  return { ...rest, ...metrics }
}
