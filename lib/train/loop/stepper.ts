/**
 * One step of training: the gradients of a batch, whole or in micro-batches, the optimizer at this step's learning rate,
 * averaged weights. In f16 the loss is scaled, and a step whose gradients overflow is left out.
 */
import { GradientExchange, ParameterShards } from '../../distributed/index.js'
import { StarError } from '../../native/index.js'
import { AdamW, Ema, LossScaler, Muon, noWeightDecay, type Optimizer } from '../../optim/index.js'
import { addInto, backward, clearTape, full, scope, type Tensor } from '../../tensor/index.js'
import { TrainedWeights } from '../checkpoint/trained-weights.js'
import { scheduledAt } from '../config/learning-rate.js'
import type { Precision } from '../config/precision.js'
import type { ResolvedOptimizer } from '../config/resolve.js'
import type { Batch } from '../data/batch.js'
import type { Figures, Metrics, Task } from '../kinds/task.js'
import type { Replicas } from './replicas.js'

/** What a step was taken on and what came of it. */
export interface StepResult {
  /** Steps done so far, this one included. */
  step: number
  /** Epoch of the batch, counted from 0. */
  epoch: number
  /** Names of the samples, in order. */
  ids: readonly string[]
  /** Figures of the batch by name: losses, accuracies. */
  metrics: Metrics
  /** Of this step. */
  learningRate: number
  /** Of this step. */
  weightDecay: number
  /** Global norm before clipping; infinite where the step was left out. */
  gradNorm: number
}

export class Stepper {
  readonly weights: TrainedWeights
  readonly optimizer: Optimizer
  readonly ema: Ema | null
  /** In f16 alone: bf16 has f32's range. */
  readonly scaler: LossScaler | null
  /** Steps done, those that were left out among them. */
  step = 0
  /** Of gradients with other processes; null where there are none. */
  readonly exchange: GradientExchange | null = null
  readonly #shards: ParameterShards | null = null

  constructor(
    private readonly task: Task,
    private readonly config: ResolvedOptimizer,
    precision: Precision,
    private readonly replicas: Replicas,
  ) {
    this.weights = new TrainedWeights(task.model, precision)
    this.scaler = precision === 'f16' ? new LossScaler() : null
    const parameters = this.weights.parameters()
    const options = { betas: config.betas, maxNorm: config.clip, noDecay: task.noDecay ?? noWeightDecay }
    const { group, count } = replicas
    // Buckets are exchanged in the order in which backward fills them.
    const place = new Map(task.model.parametersByUse().map((tensor, i) => [tensor, i]))
    const byUse = [...parameters].sort((a, b) => place.get(a.tensor)! - place.get(b.tensor)!)
    if (count > 1) {
      const tensors = byUse.map(({ tensor }) => tensor)
      // Gradients of several micro-batches are summed up in f32.
      const dtype = config.accumulate > 1 ? 'f32' : undefined
      this.exchange = new GradientExchange(tensors, { group, dtype, sharded: config.shard })
    }
    if (this.exchange && config.shard) {
      this.#shards = new ParameterShards(byUse, this.exchange, group)
      this.weights.shard(this.#shards.pieces)
    }
    const stepped = this.#shards?.pieces ?? parameters
    this.optimizer =
      config.kind === 'muon'
        ? new Muon(parameters, { ...options, momentum: config.momentum, matrices: hiddenMatricesOf(task), group })
        : new AdamW(stepped, { ...options, norm: this.#shards?.norm })
    this.ema = config.ema > 0 ? new Ema(stepped, config.ema) : null
  }

  /** @throws ERR_ARGUMENT when the loss or the gradient is no finite number (the weights are spoilt then), in f16 at any scale */
  async run(): Promise<StepResult> {
    const { task, config, scaler } = this
    const batch = await task.next(config.batchSize)
    const { lr, weightDecay } = scheduledAt(config, this.step)
    try {
      const figures = this.#gradients(batch)
      const gradNorm = scope(() => this.#update(lr, weightDecay))
      task.model.zeroGrad()
      const metrics = this.#read(figures)
      if (gradNorm !== null && !(Number.isFinite(metrics.loss) && Number.isFinite(gradNorm)))
        throw new StarError(
          'ERR_ARGUMENT',
          `the loss is ${metrics.loss} and the gradient norm ${gradNorm} at step ${this.step + 1}: lower the learning rate`,
        )
      this.step += 1
      if (gradNorm !== null) {
        this.ema?.update(this.step)
        task.afterStep?.(this.step)
      }
      return {
        step: this.step,
        epoch: batch.epoch,
        ids: batch.ids,
        metrics: scaler ? { ...metrics, lossScale: scaler.scale, skippedSteps: scaler.skipped } : metrics,
        learningRate: lr,
        weightDecay,
        gradNorm: gradNorm ?? Number.POSITIVE_INFINITY,
      }
    } finally {
      clearTape()
    }
  }

  /**
   * Leaves the gradients of the batch's mean loss, times the loss scale, in the parameters' `.grad`.
   * @returns the figures of each micro-batch
   */
  #gradients(batch: Batch): Figures[] {
    const { task, config, step } = this
    const parts = task.split(batch, config.accumulate, step)
    // The gradients of all processes are summed up.
    const factor = (this.scaler?.scale ?? 1) / (parts.length * this.replicas.count)
    const figures = parts.map((part, i) => {
      if (i === 1) this.#widenGradients()
      const exchange = i === parts.length - 1 ? this.exchange : null
      exchange?.begin()
      const scaled = (loss: Tensor): void =>
        backward(loss, full(loss.shape, factor, { device: loss.device }), exchange?.ready)
      return scope(() => task.forwardBackward(part, step, scaled))
    })
    this.exchange?.finish()
    this.#shards?.takeGradients()
    return figures
  }

  /** The metrics of a step: means over its micro-batches and processes. */
  #read(figures: readonly Figures[]): Metrics {
    const [{ values }, ...others] = figures
    try {
      for (const other of others) addInto(values, other.values)
      const sums = this.replicas.sum(values)
      return figures[figures.length - 1].named(Array.from(sums, (sum) => sum / (figures.length * this.replicas.count)))
    } finally {
      for (const { values } of figures) values.dispose()
    }
  }

  /** Gradients of further micro-batches are added in f32. */
  #widenGradients(): void {
    for (const { grad } of this.task.model.parameters()) if (grad && grad.dtype !== 'f32') grad.convert('f32').dispose()
  }

  /** @returns the norm of the gradients, or null when they overflowed and nothing was changed */
  #update(lr: number, weightDecay: number): number | null {
    const { scaler } = this
    const lossScale = scaler?.scale ?? 1
    if (scaler) {
      const owners = this.#shards ? this.#shards.pieces.map(({ tensor }) => tensor) : this.task.model.parameters()
      const gradients = owners.flatMap(({ grad }) => grad ?? [])
      const agreed = (finite: boolean): boolean => !this.replicas.any(!finite)[0]
      if (!scaler.accept(gradients, agreed)) {
        this.#shards?.dropGradients()
        return null
      }
    }
    const { gradNorm } = this.optimizer.step({ lr, weightDecay, lossScale })
    this.#shards?.gather()
    return gradNorm
  }

  /** Runs `fn` with the averaged weights in place where an average is kept. */
  async withAverage<T>(fn: () => T | Promise<T>): Promise<T> {
    if (!this.ema) return fn()
    try {
      return await this.ema.swapped(() => {
        this.#shards?.gather()
        return fn()
      })
    } finally {
      this.#shards?.gather()
    }
  }

  /** The weights for use, in f32 and by the model's names: the averaged ones where an average is kept. */
  *namedTensors(): Generator<{ name: string; tensor: Tensor }> {
    if (this.#shards)
      throw new StarError('ERR_INTERNAL', 'no process has all weights of a sharded run: read them from a checkpoint')
    const averages = new Map(this.ema?.tensors())
    for (const { name, tensor } of this.weights.namedTensors()) yield { name, tensor: averages.get(name) ?? tensor }
  }

  dispose(): void {
    this.optimizer.dispose()
    this.#shards?.dispose()
    this.exchange?.dispose()
    this.ema?.dispose()
    this.weights.dispose()
  }
}

/** @throws ERR_CONFIG for a kind of training that has none */
function hiddenMatricesOf(task: Task): (name: string) => number {
  if (task.hiddenMatrices) return task.hiddenMatrices
  throw new StarError(
    'ERR_CONFIG',
    '"optimizer.kind" is "muon", which steps the matrices of transformers and sampler heads, and this run trains neither: set it to "adamw"',
  )
}
