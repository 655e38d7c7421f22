/** AdamW over named parameters, with global-norm clipping and f32 master weights of 16-bit parameters. */
import { StarError } from '../native/index.js'
import { adamwStep, globalNorm, keep, scope, type Tensor, zeros } from '../tensor/index.js'
import { copyState, type Optimizer, type StepOptions, type TrainedParameter } from './optimizer.js'
import { pieceName } from './piece.js'

export interface AdamWOptions {
  betas?: readonly [number, number]
  eps?: number
  /** Largest global gradient norm; 0 turns clipping off. */
  maxNorm?: number
  /** Parameters that weight decay leaves alone. */
  noDecay?: (name: string, shape: readonly number[]) => boolean
  /**
   * Norm over the gradients of all processes (1), of those of this process, where each steps its pieces only. Default: the
   * norm of the given ones.
   */
  norm?: (gradients: readonly Tensor[]) => Tensor
}

interface Slot extends TrainedParameter {
  master: Tensor
  m: Tensor
  v: Tensor
  decays: boolean
}

export class AdamW implements Optimizer {
  readonly #slots: Slot[]
  readonly #options: Required<Omit<AdamWOptions, 'norm'>> & Pick<AdamWOptions, 'norm'>
  #step = 0

  constructor(parameters: readonly TrainedParameter[], options: AdamWOptions = {}) {
    const { betas = [0.9, 0.95], eps = 1e-8, maxNorm = 0, noDecay = () => false, norm } = options
    this.#options = { betas, eps, maxNorm, noDecay, norm }
    this.#slots = parameters.map(({ name, tensor, master = tensor, piece }) => ({
      name,
      tensor,
      master,
      piece,
      m: keep(zeros(tensor.shape, { device: tensor.device })),
      v: keep(zeros(tensor.shape, { device: tensor.device })),
      decays: !noDecay(name, piece?.shape ?? tensor.shape),
    }))
  }

  step({ lr, weightDecay, lossScale = 1 }: StepOptions): { gradNorm: number } {
    return scope(() => {
      const used = this.#slots.filter(({ tensor }) => tensor.grad)
      const { betas, eps, maxNorm, norm: normOfAll } = this.#options
      if (used.length === 0 && !normOfAll)
        throw new StarError('ERR_ARGUMENT', 'AdamW: no parameter has a gradient: run backward before step')
      const grads = used.map(({ tensor }) => tensor.grad!)
      const norm = (normOfAll ?? globalNorm)(grads)
      this.#step += 1
      adamwStep({
        params: used.map((s) => s.master),
        weights: used.map((s) => s.tensor),
        grads,
        m: used.map((s) => s.m),
        v: used.map((s) => s.v),
        weightDecays: used.map((s) => (s.decays ? weightDecay : 0)),
        norm: maxNorm > 0 ? norm : null,
        maxNorm,
        gradScale: 1 / lossScale,
        lr,
        beta1: betas[0],
        beta2: betas[1],
        eps,
        step: this.#step,
      })
      return { gradNorm: norm.item() / lossScale }
    })
  }

  /** Moments, named `parameter.exp_avg` and `parameter.exp_avg_sq`. */
  *tensors(): Generator<[string, Tensor]> {
    for (const { name, m, v, piece } of this.#slots) {
      yield [pieceName(`${name}.exp_avg`, piece), m]
      yield [pieceName(`${name}.exp_avg_sq`, piece), v]
    }
  }

  state(): { step: number } {
    return { step: this.#step }
  }

  load(tensors: ReadonlyMap<string, Tensor>, state: { step: number }): void {
    copyState(this.tensors(), tensors)
    this.resume(state)
  }

  resume({ step }: { step: number }): void {
    this.#step = step
  }

  dispose(): void {
    for (const { m, v } of this.#slots) {
      m.dispose()
      v.dispose()
    }
  }
}
