/** One step of training: a batch, its gradients, the optimizer at this step's learning rate, averaged weights. */
import { StarError } from '../native/index.js'
import { AdamW, Ema, noWeightDecay, scheduled } from '../optim/index.js'
import { clearTape, scope } from '../tensor/index.js'
import type { OptimizerInSteps } from './config/optimizer.js'
import type { Metrics, Task } from './task.js'

export interface StepResult {
  /** Steps done so far, this one included. */
  step: number
  epoch: number
  /** Names of the samples, in order. */
  ids: readonly string[]
  metrics: Metrics
  learningRate: number
  weightDecay: number
  gradNorm: number
}

export class Stepper {
  readonly optimizer: AdamW
  readonly ema: Ema | null
  /** Steps done. */
  step = 0

  constructor(
    private readonly task: Task,
    private readonly config: OptimizerInSteps,
  ) {
    const parameters = [...task.model.namedTensors()].filter((t) => t.trainable)
    this.optimizer = new AdamW(parameters, { betas: config.betas, maxNorm: config.clip, noDecay: noWeightDecay })
    this.ema = config.ema > 0 ? new Ema(parameters, config.ema) : null
  }

  /** @throws ERR_ARGUMENT when the loss or the gradient is no finite number; the weights are spoilt then */
  async run(): Promise<StepResult> {
    const { task, config } = this
    const batch = await task.next(config.batchSize)
    const { lr, weightDecay } = scheduled(config.schedule, {
      step: this.step,
      steps: config.steps,
      peak: config.learningRate,
      warmupSteps: config.warmupSteps,
      warmupStart: config.warmupStart,
      endRatio: config.endRatio,
      weightDecay: config.weightDecay,
      weightDecayEnd: config.weightDecayEnd ?? config.weightDecay,
    })
    try {
      const { metrics, gradNorm } = scope(() => {
        const metrics = task.forwardBackward(batch, this.step)
        const { gradNorm } = this.optimizer.step({ lr, weightDecay })
        return { metrics, gradNorm }
      })
      task.model.zeroGrad()
      if (!Number.isFinite(metrics.loss) || !Number.isFinite(gradNorm))
        throw new StarError(
          'ERR_ARGUMENT',
          `the loss is ${metrics.loss} and the gradient norm ${gradNorm} at step ${this.step + 1}: lower the learning rate`,
        )
      this.step += 1
      this.ema?.update(this.step)
      task.afterStep?.(this.step)
      return { step: this.step, epoch: batch.epoch, ids: batch.ids, metrics, learningRate: lr, weightDecay, gradNorm }
    } finally {
      clearTape()
    }
  }

  /** Runs `fn` with the averaged weights in place where an average is kept. */
  async withAverage<T>(fn: () => T | Promise<T>): Promise<T> {
    return this.ema ? this.ema.swapped(fn) : fn()
  }

  dispose(): void {
    this.optimizer.dispose()
    this.ema?.dispose()
  }
}
