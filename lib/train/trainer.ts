/** A training run: steps, and between them log, validation, sample pictures and checkpoints; resumed exactly where it was. */
import { existsSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { ProcessGroup, readEnvironment } from '../distributed/index.js'
import { StarError } from '../native/index.js'
import { fallbackNotice, resolveDevice, scope } from '../tensor/index.js'
import type { NamedTensors } from '../weights/index.js'
import { type CheckpointParts, checkpointContent, checkpointWeights, loadCheckpoint } from './checkpoint/checkpoint.js'
import { Checkpointer, type CheckpointFile } from './checkpoint/checkpointer.js'
import { startRun } from './checkpoint/start.js'
import type { CommonConfig } from './config/common.js'
import { precisionOn } from './config/precision.js'
import type { Resolved } from './config/resolve.js'
import type { TaskContext } from './data/context.js'
import { type Exporter, exporterOf } from './kinds/export.js'
import { type RunConfig, specOf } from './kinds/index.js'
import { openTask } from './kinds/open-task.js'
import type { RunSpec } from './kinds/run-spec.js'
import type { Metrics, Task } from './kinds/task.js'
import { Replicas } from './loop/replicas.js'
import { Stepper, type StepResult } from './loop/stepper.js'
import { Validator } from './loop/validator.js'
import { readRunConfig, resolveRunConfig } from './run-config.js'
import { Recorder } from './run-folder/recorder.js'
import { runFacts } from './run-folder/run-facts.js'
import { RunFolder } from './run-folder/run-folder.js'
import { RunLock } from './run-folder/run-lock.js'

/** A run configuration with lengths and intervals in steps, whatever unit they were given in. */
export type ResolvedRunConfig = Resolved<RunConfig>

/** Where a run is trained, and what it tells meanwhile. */
export interface TrainerOptions {
  /** Device to train on: 'cpu' (the default), 'cuda', or 'auto' for a GPU where one is available. */
  device?: string
  /** Aborting saves a checkpoint and ends the iteration after the current step. */
  signal?: AbortSignal
  /** Told in one line what the caller may want to know, such as why `auto` takes no GPU. Nothing is printed. */
  onNotice?: (message: string) => void
  /** Told what is being prepared (downloads, models) and how far it is. */
  onProgress?: (what: string, done: number, total: number) => void
  /**
   * The processes that train together, each on its part of every batch. Default: those that a launcher (`star launch`, torchrun,
   * srun, mpirun) has started with this one; without a launcher this one alone.
   */
  group?: ProcessGroup
}

/** What one step of the iteration yields. */
export interface TrainStep extends StepResult {
  /** Steps of the whole run. */
  totalSteps: number
  /** Mean loss of the batch. */
  loss: number
  /** Samples per second over this step. */
  samplesPerSecond: number
}

/** A training run: an async iterable of its steps, which stops and resumes exactly. */
export class Trainer implements AsyncIterable<TrainStep> {
  readonly #spec: RunSpec<RunConfig>
  readonly #task: Task
  readonly #stepper: Stepper
  readonly #checkpointer: Checkpointer
  readonly #validator: Validator
  readonly #replicas: Replicas
  /** Rank 0 records. */
  #recorder: Recorder | null = null
  #saveAsked = false
  /** Of rank 0. */
  #lock: RunLock | null = null

  private constructor(
    /** The configuration, with lengths and intervals in steps. */
    readonly config: ResolvedRunConfig,
    /** The folder that takes what the run leaves. */
    readonly run: RunFolder,
    /** Device it trains on. */
    readonly device: string,
    task: Task,
    /** Aborting it saves a checkpoint and ends the iteration. */
    readonly signal: AbortSignal | undefined,
    group: ProcessGroup,
  ) {
    this.#spec = specOf(config)
    this.#task = task
    this.#replicas = new Replicas(group, device)
    this.#stepper = new Stepper(task, config.optimizer, precisionOn(config.precision, device), this.#replicas)
    this.#checkpointer = new Checkpointer(run.path, config.work.keep, group, this.#stepper.weights.sharded)
    this.#validator = new Validator(this.#spec.deciding, config.work.validateEvery)
  }

  /**
   * Opens the run a configuration describes; a run folder with a checkpoint resumes from it.
   * @param config a JSON file, or its parsed content
   * @throws ERR_CONFIG for an unknown or ill-typed key, ERR_FILE for missing data or a broken checkpoint, ERR_SHAPE for a
   * checkpoint of another architecture, ERR_BUSY where another process trains in the run folder, ERR_DEVICE for a device that is unknown or not available
   */
  static async open(config: string | object, options: TrainerOptions = {}): Promise<Trainer> {
    const { config: parsed, notices } =
      typeof config === 'string' ? readRunConfig(config) : resolveRunConfig(config, 'the configuration')
    const { device: asked = 'cpu', signal, onProgress = () => {} } = options
    const group = options.group ?? (await ProcessGroup.launched({ device: asked }))
    let opened: { dispose(): void } | null = null
    let lock: RunLock | null = null
    try {
      const run = new RunFolder(parsed.runFolder, group.rank === 0)
      if (group.rank === 0) lock = RunLock.take(run.file('lock'), run.path, readEnvironment(process.env).job)
      const device = resolveDevice(asked)
      const context = { device, onProgress, signal, group }
      const { task, config: resolved } = await openTask(parsed, run, context)
      opened = task
      const precision = precisionOn(resolved.precision, device)
      const trainer = new Trainer({ ...resolved, precision }, run, device, task, signal, group)
      opened = trainer
      trainer.#lock = lock
      await trainer.#begin(context)
      run.writeJson('config.json', trainer.config)
      run.writeJson('run.json', runFacts(parsed.data, device, group.size))
      for (const notice of notices) run.log(notice)
      const notice = fallbackNotice(asked, device)
      if (notice) options.onNotice?.(notice)
      return trainer
    } catch (error) {
      opened?.dispose()
      lock?.release()
      throw error
    }
  }

  /** Steps done so far. */
  get step(): number {
    return this.#stepper.step
  }

  /** Steps of the whole run. */
  get totalSteps(): number {
    return this.config.optimizer.steps
  }

  /** Whether all steps are done. */
  get done(): boolean {
    return this.step >= this.totalSteps
  }

  /** Number of trained values. */
  get parameterCount(): number {
    return this.#task.model.parameterCount()
  }

  #parts(): CheckpointParts {
    const { weights: model, optimizer, ema } = this.#stepper
    return { model, optimizer, ema, task: this.#task }
  }

  /** Loads a checkpoint or the first weights: the same in all processes. */
  async #begin(context: TaskContext): Promise<void> {
    const replicas = this.#replicas
    await replicas.agree(this.config)
    if (!(await this.#resume())) await this.#start(context)
    const { weights } = this.#stepper
    const masters = Array.from(weights.namedTensors(), ({ tensor }) => tensor)
    const computed = Array.from(weights.model.namedTensors(), ({ tensor }) => tensor)
    await replicas.spread(new Set([...computed, ...masters]))
    if (replicas.first)
      this.#recorder = new Recorder({ folder: this.run.path, step: this.step, sides: this.#task.sides })
  }

  /** Takes the weights that the run is to begin with. */
  async #start(context: TaskContext): Promise<void> {
    const { start }: CommonConfig = this.config
    const { part } = this.#spec
    if (!start || !part) return
    const { line, progress } = await startRun(start, part, this.#task.modelConfig(), this.#parts(), context)
    this.run.log(line)
    this.#task.started?.()
    if (!progress) return
    // The reference keeps no position in its data: the epoch under way begins anew.
    this.#stepper.step = Math.min(progress.step, this.totalSteps)
    this.#task.beginEpoch?.(progress.epoch)
  }

  /** Loads the newest checkpoint that is whole, the same in all processes. @returns whether there was one */
  async #resume(): Promise<boolean> {
    const { group, first } = this.#replicas
    // What the first sees counts, should the others' view of the folder lag behind.
    if (first) group.store.set('checkpoints', JSON.stringify(this.#checkpointer.list()))
    const found = JSON.parse(await group.store.get('checkpoints')) as CheckpointFile[]
    const faults: string[] = []
    for (const { file, step } of found) {
      const fault = this.#load(file)
      if (!this.#replicas.any(fault !== null)[0]) {
        this.run.log(`resumed from step ${step}`)
        return true
      }
      faults.push(fault?.message ?? `${file} could not be read by another process`)
      this.run.log(`skipped ${file}: ${faults.at(-1)}`)
    }
    if (faults.length > 0)
      throw new StarError(
        'ERR_FILE',
        `no checkpoint of ${this.run.path} is whole (${faults.join('; ')}): remove its folder "checkpoints" to start anew, or name another "runFolder"`,
      )
    return false
  }

  /** Loads a checkpoint. @returns why it could not be read; null when it could */
  #load(file: string): StarError | null {
    try {
      const state = loadCheckpoint(file, this.#parts())
      this.#stepper.step = state.step
      if (state.lossScale) this.#stepper.scaler?.restore(state.lossScale)
      this.#validator.restore(state.validation)
      this.#task.restore(state.task)
      return null
    } catch (error) {
      // A checkpoint that a crash or a disk has damaged is skipped for the one before it; another model's is the user's
      // mistake.
      if (!(error instanceof StarError)) throw error
      if (error.code === 'ERR_FILE') return error
      throw new StarError(
        error.code,
        `${file} does not belong to this configuration: ${error.message}; name another "runFolder", or remove this one`,
      )
    }
  }

  /** Writes a checkpoint of the current step; resolves with its file when it is on the disk. */
  async save(): Promise<string> {
    await this.#save()
    await this.#checkpointer.settled()
    return this.#checkpointer.file(this.step)
  }

  /** Asks for a checkpoint after the current step, while the iteration continues. */
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
    const { rank, size: count } = this.#replicas.group
    const described = { config: this.config, model: this.#task.modelConfig() }
    const content = checkpointContent(this.#parts(), state, described, { rank, count })
    await this.#checkpointer.save(this.step, content, best)
  }

  /** Held-out figures with the averaged weights (the trained ones when no average is kept). */
  async validate(): Promise<Metrics> {
    return this.#stepper.withAverage(async () => (await this.#task.validate?.()) ?? {})
  }

  /** Writes the model for use into the run's `model` folder and returns it; called in all processes of the run. */
  async export(): Promise<string> {
    const folder = this.run.file('model')
    const write = await exporterOf(this.#spec, this.config)
    if (this.#stepper.weights.sharded) {
      const file = await this.save()
      if (this.#replicas.first) this.#exportFrom(file, folder, write)
    } else if (this.#replicas.first) this.#export(folder, this.#stepper, write)
    return folder
  }

  /** No process has all weights of a sharded run, so they come from a checkpoint. */
  #exportFrom(file: string, folder: string, write: Exporter): void {
    scope(() => {
      const weights = checkpointWeights(file)
      this.#export(folder, { namedTensors: () => weights }, write)
    })
  }

  #export(folder: string, trained: NamedTensors, write: Exporter): void {
    const { frozen, source } = this.#task
    write(folder, { config: this.#task.modelConfig(), trained, frozen, source })
  }

  /** Takes the steps that are left, one an iteration; leaving the loop leaves the run where it is. */
  async *[Symbol.asyncIterator](): AsyncGenerator<TrainStep> {
    try {
      while (!this.done) {
        const [stop, save] = this.#replicas.any(this.signal?.aborted ?? false, this.#saveAsked)
        this.#saveAsked = save
        if (stop) {
          await this.save()
          this.run.log(`stopped at step ${this.step}; the same command resumes from here`)
          return
        }
        const step = await this.#runStep()
        await this.#afterStep(step)
        yield step
        // Signals and timers are handled between steps.
        await nextTurn()
      }
      // The process may have ended between the last checkpoint and the export.
      if (this.#replicas.any(this.#replicas.first && !existsSync(this.run.file('model')))[0]) await this.export()
    } catch (error) {
      this.#logEnd(error)
      // What ended the run is thrown; a checkpoint that fails beside it is in the log.
      await this.#checkpointer.settled().catch((fault) => this.#logEnd(fault))
      throw error
    } finally {
      // Also where the consumer stops: a checkpoint that could not be written is told.
      await this.#checkpointer.settled()
    }
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
    const samples = result.ids.length * this.#replicas.count
    const samplesPerSecond = (1000 * samples) / (performance.now() - begun)
    return { ...result, totalSteps: this.totalSteps, loss: result.metrics.loss, samplesPerSecond }
  }

  /** What is due after a step: record, validation, pictures, checkpoint, and the model at the end. */
  async #afterStep(result: TrainStep): Promise<void> {
    const { work } = this.config
    const { step, epoch } = result
    const last = this.done
    let save = this.#saveAsked || step % work.saveEvery === 0 || last
    if (step % work.logEvery === 0 || last) this.#recorder?.metrics(step, recorded(result))
    if (this.#validator.due(step, epoch, last)) {
      const held = await this.validate()
      const better = this.#validator.take(step, held)
      save ||= better && work.keepBest
      const named = Object.fromEntries(Object.entries(held).map(([name, value]) => [`val/${name}`, value]))
      Object.assign(result.metrics, named)
      if (Object.keys(held).length > 0) {
        this.#recorder?.metrics(step, named)
        this.run.log(`step ${step}, held-out images: ${inWords(held)}${better ? ' (the best so far)' : ''}`)
      }
    }
    if (work.picturesEvery > 0 && (step % work.picturesEvery === 0 || last)) {
      const pictures = await this.#stepper.withAverage(() => this.#task.pictures(work.prompts))
      this.#recorder?.pictures(step, epoch, pictures)
    }
    if (save) await this.#save()
    if (last) await this.export()
  }

  /** Frees weights and data. */
  dispose(): void {
    this.#task.dispose()
    this.#stepper.dispose()
    this.#lock?.release()
  }

  /** `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
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
