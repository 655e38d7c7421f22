/**
 * Muon for hidden matrices, beside AdamW for all other parameters (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).
 *
 * AdamW scales each element of a gradient by itself. Muon takes a matrix as the linear map that it is: its momentum, whose few
 * large singular values hide many small ones, is replaced by the nearest matrix all of whose singular values are equal. With
 * gradient G (r × c, clipped as AdamW's), momentum B and weights W:
 *
 *     B = μ·B + G        U = G + μ·B  (Nesterov)        O = orthogonalize(U)
 *     W = W·(1 − lr·wd) − lr · 0.2·√max(r, c) · O
 *
 * An orthogonal r × c matrix has elements of root mean square 1/√max(r, c); the factor gives the update 0.2, about what AdamW's
 * updates have, so that one learning rate and one weight decay serve both (Liu et al. 2025, arXiv 2502.16982, section 2.2).
 *
 * A weight may hold several matrices one below the other (queries, keys and values). They are different maps of one input, so
 * each is orthogonalized by itself: together, the update of one would be small where that of another is large.
 */
import { StarError } from '../native/index.js'
import {
  addInto,
  affine,
  cast,
  clamp,
  type DType,
  div,
  full,
  globalNorm,
  keep,
  matmul,
  mul,
  noGrad,
  reciprocal,
  scope,
  slice,
  Tensor,
  zeros,
} from '../tensor/index.js'
import { AdamW, type AdamWOptions } from './adamw.js'
import { copyState, type Optimizer, type StepOptions, type TrainedParameter } from './optimizer.js'

/** Of the quintic p(σ) = aσ + bσ³ + cσ⁵, which raises small singular values fast and keeps those near 1 within [0.68, 1.13]. */
const [a, b, c] = [3.4445, -4.775, 2.0315]
const iterations = 5

/** Added to norms, so that a gradient of zeros gives no update. */
const smallest = 1e-30

/** RMS of AdamW's updates over the learning rate. */
const updateSize = 0.2

/**
 * U·Vᵀ of the singular value decomposition x = U·S·Vᵀ, about: five Newton–Schulz steps X ← aX + b(XXᵀ)X + c(XXᵀ)²X from
 * X = x/‖x‖, with the coefficients of Jordan et al., bring singular values above 0.002·‖x‖ to between 0.68 and 1.13. They need matrix
 * products alone, on the smaller side, and stand 16 bits. Of zeros it is zeros.
 * @param x (r, c)
 * @param dtype to compute in, and of the result
 * @returns (r, c)
 */
export function orthogonalize(x: Tensor, dtype: DType): Tensor {
  return noGrad(() =>
    scope(() => {
      const [rows, cols] = x.shape
      const wide = rows <= cols
      let result = cast(div(x, affine(globalNorm([x]), null, 1, 0, smallest)), dtype)
      for (let i = 0; i < iterations; i++) {
        const from = result
        result = scope(() => {
          const gram = matmul(from, from, wide ? { transB: true } : { transA: true }) // XXᵀ or XᵀX, the smaller of both
          const polynomial = affine(gram, matmul(gram, gram), b, c, 0)
          return affine(from, wide ? matmul(polynomial, from) : matmul(from, polynomial), a, 1, 0)
        })
        from.dispose()
      }
      return result
    }),
  )
}

/** Processes that train replicas of the weights. */
interface Group {
  readonly rank: number
  readonly size: number
  broadcast(tensor: Tensor, root: number): { wait(): void }
}

export interface MuonOptions extends Omit<AdamWOptions, 'norm'> {
  /** μ. Default 0.95. */
  momentum?: number
  /** How many matrices of equal height a parameter holds one below the other; 0: AdamW steps it. */
  matrices: (name: string) => number
  /** Each process orthogonalizes its share of the matrices and gives it to the others: less work, and no two results. */
  group?: Group
}

interface Slot extends TrainedParameter {
  master: Tensor
  /** B. */
  momentum: Tensor
  decays: boolean
}

/** A matrix: rows of a parameter. */
interface Matrix {
  slot: Slot
  begin: number
  end: number
}

export class Muon implements Optimizer {
  readonly #slots: readonly Slot[]
  readonly #matrices: readonly Matrix[]
  readonly #adamw: AdamW
  readonly #others: readonly TrainedParameter[]
  readonly #options: { momentum: number; maxNorm: number; group: Group | null }
  /** Of all gradients, in the step at hand. */
  #norm: Tensor | null = null

  /** @throws ERR_ARGUMENT for a piece of a parameter, and for one that is not so many matrices */
  constructor(parameters: readonly TrainedParameter[], options: MuonOptions) {
    const { momentum = 0.95, maxNorm = 0, noDecay = () => false, matrices, group = null } = options
    this.#options = { momentum, maxNorm, group: group && group.size > 1 ? group : null }
    const hidden = parameters.filter(({ name }) => matrices(name) > 0)
    this.#others = parameters.filter(({ name }) => matrices(name) === 0)
    this.#slots = hidden.map((parameter) => {
      const { name, tensor, master = tensor, piece } = parameter
      if (piece || tensor.rank !== 2 || tensor.dim(0) % matrices(name) !== 0)
        throw new StarError(
          'ERR_ARGUMENT',
          `Muon: ${name} ${piece ? 'is a piece of a weight' : `has shape (${tensor.shape.join(', ')})`}, expected ${matrices(name)} whole matrices one below the other`,
        )
      const momentum = keep(zeros(tensor.shape, { device: tensor.device }))
      return { ...parameter, master, momentum, decays: !noDecay(name, tensor.shape) }
    })
    this.#matrices = this.#slots.flatMap((slot) => {
      const height = slot.tensor.dim(0) / matrices(slot.name)
      return Array.from({ length: matrices(slot.name) }, (_, i) => ({ slot, begin: i * height, end: (i + 1) * height }))
    })
    this.#adamw = new AdamW(this.#others, { ...options, norm: () => this.#norm! })
  }

  step({ lr, weightDecay, lossScale = 1 }: StepOptions): { gradNorm: number } {
    return noGrad(() =>
      scope(() => {
        const gradients = [...this.#slots, ...this.#others].flatMap(({ tensor }) => tensor.grad ?? [])
        if (gradients.length === 0)
          throw new StarError('ERR_ARGUMENT', 'Muon: no parameter has a gradient: run backward before step')
        this.#norm = globalNorm(gradients)
        const factor = this.#factor(this.#norm, 1 / lossScale)
        const used = this.#slots.filter(({ tensor }) => tensor.grad)
        for (const { momentum, master, decays, tensor } of used) {
          addInto(momentum, momentum, this.#options.momentum - 1)
          scope(() => addInto(momentum, mul(cast(tensor.grad!, 'f32'), factor)))
          if (decays) addInto(master, master, -lr * weightDecay)
        }
        this.#applyUpdates(factor, lr)
        for (const { tensor, master } of used) if (master !== tensor) tensor.copyFrom(master)
        // Last, as it waits for the norm.
        return this.#adamw.step({ lr, weightDecay, lossScale })
      }),
    )
  }

  /** What a gradient is multiplied by, (1): 1 over the loss scale, and less where its norm is clipped. */
  #factor(norm: Tensor, scale: number): Tensor {
    const { maxNorm } = this.#options
    if (maxNorm === 0) return full([1], scale, { device: norm.device })
    return mul(clamp(mul(reciprocal(affine(norm, null, scale, 0, 1e-6)), maxNorm), 0, 1), scale)
  }

  /** W −= lr · 0.2·√max(r, c) · O, of every matrix with a gradient. */
  #applyUpdates(factor: Tensor, lr: number): void {
    const { group } = this.#options
    const matrices = this.#matrices.filter(({ slot }) => slot.tensor.grad)
    if (!group) {
      for (const matrix of matrices) scope(() => applyUpdate(matrix, this.#update(matrix, factor), lr))
      return
    }
    const updates = matrices.map((matrix, i) =>
      i % group.size === group.rank ? this.#update(matrix, factor) : emptyUpdate(matrix),
    )
    const works = updates.map((update, i) => group.broadcast(update, i % group.size))
    matrices.forEach((matrix, i) => {
      works[i].wait()
      applyUpdate(matrix, updates[i], lr)
    })
  }

  /** O of a matrix, in the type that the model computes in. */
  #update({ slot: { tensor, momentum }, begin, end }: Matrix, factor: Tensor): Tensor {
    return scope(() => {
      const gradient = mul(cast(slice(tensor.grad!, 0, begin, end), 'f32'), factor)
      const update = affine(gradient, slice(momentum, 0, begin, end), 1, this.#options.momentum, 0)
      return orthogonalize(update, tensor.dtype)
    })
  }

  /** Momentum, named `parameter.momentum_buffer`, and what AdamW keeps of the other parameters. */
  *tensors(): Generator<[string, Tensor]> {
    for (const { name, momentum } of this.#slots) yield [`${name}.momentum_buffer`, momentum]
    yield* this.#adamw.tensors()
  }

  state(): { step: number } {
    return this.#adamw.state()
  }

  load(tensors: ReadonlyMap<string, Tensor>, state: { step: number }): void {
    copyState(this.tensors(), tensors)
    this.resume(state)
  }

  resume(state: { step: number }): void {
    this.#adamw.resume(state)
  }

  dispose(): void {
    for (const { momentum } of this.#slots) momentum.dispose()
    this.#adamw.dispose()
  }
}

const emptyUpdate = ({ slot: { tensor }, begin, end }: Matrix): Tensor =>
  Tensor.empty([end - begin, tensor.dim(1)], { dtype: tensor.dtype, device: tensor.device })

function applyUpdate({ slot: { master }, begin, end }: Matrix, update: Tensor, lr: number): void {
  const [rows, cols] = update.shape
  scope(() =>
    addInto(slice(master, 0, begin, end), cast(update, 'f32'), -lr * updateSize * Math.sqrt(Math.max(rows, cols))),
  )
}
