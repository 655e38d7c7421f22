/** The discriminator that a tokenizer is trained against: its weights and optimizer, what it sees, and how much it counts. */
import {
  type AdversarialConfig,
  type AugmentDraw,
  augment,
  discriminatorLoss,
  drawAugmentations,
  generatorLoss,
  PatchDiscriminator,
} from '../../../models/losses/index.js'
import type { AdversarialTerm, ObjectiveResult } from '../../../models/tokenizer/index.js'
import { AdamW } from '../../../optim/index.js'
import {
  addInto,
  backward,
  concat,
  full,
  keep,
  mul,
  noGrad,
  type Random,
  reshape,
  type Share,
  scope,
  slice,
  type Tensor,
} from '../../../tensor/index.js'
import { scheduledAt } from '../../config/learning-rate.js'
import type { ResolvedOptimizer } from '../../config/resolve.js'
import type { TaskContext } from '../../data/context.js'

/** Weight of the past in the running norms. */
const decay = 0.98

/** What is done to the pictures of a micro-batch for the generator's side and, real ones before reconstructions, for the discriminator's. */
export interface AdversaryDraws {
  generator: AugmentDraw[]
  real: AugmentDraw[]
  fake: AugmentDraw[]
}

/** Draws of the pictures [begin, end). */
export const sliceDraws = ({ generator, real, fake }: AdversaryDraws, begin: number, end: number): AdversaryDraws => ({
  generator: generator.slice(begin, end),
  real: real.slice(begin, end),
  fake: fake.slice(begin, end),
})

/** Running squared norms of gradients in the reconstructions of a batch. */
interface Norms {
  adversarial: number
  others: number
}

export interface AdversaryState {
  norms: Norms | null
  optimizer: { step: number }
}

export class Adversary {
  readonly model: PatchDiscriminator
  readonly #config: AdversarialConfig
  readonly #optimizer: AdamW
  readonly #schedule: ResolvedOptimizer
  readonly #context: TaskContext
  #norms: Norms | null = null
  /** Of the step at hand, the adversarial term's and the others', summed up over this process's micro-batches: (2). */
  #sums: Tensor | null = null

  constructor(config: AdversarialConfig, schedule: ResolvedOptimizer, random: Random, context: TaskContext) {
    this.#config = config
    this.#schedule = schedule
    this.#context = context
    const { channels, layers, betas } = config
    this.model = new PatchDiscriminator({ channels, layers, init: random, device: context.device })
    const parameters = [...this.model.namedTensors()].map(({ name, tensor }) => ({ name, tensor }))
    this.#optimizer = new AdamW(parameters, { betas, maxNorm: schedule.clip })
  }

  /** @param step counted from 0 */
  active(step: number): boolean {
    return step >= this.#config.start
  }

  /** Draws for a share of the batch, as `drawAugmentations`. */
  draw(share: Share, random: Random): AdversaryDraws {
    const draw = (): AugmentDraw[] => drawAugmentations(share, random)
    return { generator: draw(), real: draw(), fake: draw() }
  }

  /** Weight of the term at a step: with `adaptive`, from the norms of the steps before it. */
  #weight(step: number): number {
    const { weight, adaptive, start, warmupSteps } = this.#config
    const ramp = warmupSteps > 0 ? Math.min(1, (step - start) / warmupSteps) : 1
    if (!adaptive) return weight * ramp
    const { adversarial, others } = this.#norms ?? { adversarial: 1, others: 0 }
    return weight * ramp * Math.sqrt(others / Math.max(adversarial, 1e-20))
  }

  /** The generator's side. */
  term({ generator }: AdversaryDraws, step: number): AdversarialTerm {
    const { loss, augment: kinds } = this.#config
    return {
      weight: this.#weight(step),
      loss: (reconstruction) => {
        this.model.setTrainable(false)
        try {
          return generatorLoss(this.model.forward(augment(reconstruction, generator, kinds)), loss)
        } finally {
          this.model.setTrainable(true)
        }
      },
    }
  }

  /**
   * The discriminator's side: adds the gradients of a micro-batch to its parameters'.
   * @param parts micro-batches of this process in the step
   * @returns the loss, shape []
   */
  discriminate(
    images: Tensor,
    { reconstruction, squaredNorms }: Pick<ObjectiveResult, 'reconstruction' | 'squaredNorms'>,
    { real, fake }: AdversaryDraws,
    parts: number,
  ): Tensor {
    const { loss: kind, augment: kinds } = this.#config
    // Of a mean over n parts each has a gradient n times as long as the whole batch's.
    const factor = 1 / (parts * this.#context.group.size)
    return scope(() => {
      const { adversarial, others } = squaredNorms!
      const squares = noGrad(() => mul(concat([reshape(adversarial, [1]), reshape(others, [1])], 0), factor ** 2))
      if (this.#sums) addInto(this.#sums, squares)
      else this.#sums = keep(squares.detach())
      const count = images.dim(0)
      const pictures = augment(concat([images, reconstruction.detach()], 0), [...real, ...fake], kinds)
      const logits = this.model.forward(pictures)
      const loss = discriminatorLoss(slice(logits, 0, 0, count), slice(logits, 0, count), kind)
      backward(loss, full(loss.shape, factor, { device: loss.device }))
      return loss.detach()
    })
  }

  /** Steps the discriminator with what the processes have gathered for a step, counted from 1. */
  step(step: number): void {
    const sums = this.#sums
    if (!sums) return
    const { group } = this.#context
    scope(() => {
      if (group.size > 1) {
        const work = [...this.model.parameters().map(({ grad }) => grad!), sums].map((t) => group.allReduce(t))
        for (const pending of work) pending.wait()
      }
      const { learningRate } = this.#config
      const { lr } = scheduledAt({ ...this.#schedule, learningRate }, step - 1)
      this.#optimizer.step({ lr, weightDecay: 0 })
    })
    const [adversarial, others] = sums.floats()
    const before = this.#norms ?? { adversarial, others }
    this.#norms = {
      adversarial: decay * before.adversarial + (1 - decay) * adversarial,
      others: decay * before.others + (1 - decay) * others,
    }
    this.forget()
  }

  /** Drops what was gathered for a step. */
  forget(): void {
    this.#sums?.dispose()
    this.#sums = null
    this.model.zeroGrad()
  }

  /** Weights and averages, for a checkpoint. */
  *tensors(): Generator<[string, Tensor]> {
    for (const { name, tensor } of this.model.namedTensors()) yield [name, tensor]
    yield* this.#optimizer.tensors()
  }

  state(): AdversaryState {
    return { norms: this.#norms, optimizer: this.#optimizer.state() }
  }

  restore({ norms, optimizer }: AdversaryState): void {
    this.#norms = norms
    this.#optimizer.resume(optimizer)
  }

  dispose(): void {
    this.forget()
    this.model.dispose()
    this.#optimizer.dispose()
  }
}
