/**
 * A sharded optimizer (ZeRO stage 1; Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter
 * Models", 2020): every process holds all weights, and steps an equal part of them, the only part it keeps optimizer state
 * and f32 masters for. Afterwards the parts are gathered.
 */
import { globalNorm, keep, scope, Tensor } from '../tensor/index.js'
import { Bucket, viewOf } from './buckets.js'
import type { GradientExchange, ShardPiece } from './gradient-exchange.js'
import type { ProcessGroup, Work } from './process-group.js'

interface Parameter {
  name: string
  /** What the model computes with. */
  tensor: Tensor
  /** Its f32 values, where it has 16 bits. */
  master?: Tensor
}

/** A piece of a parameter that this process steps, as optimizers take it. */
export interface ParameterPiece extends Parameter {
  piece: { begin: number; end: number; shape: readonly number[] }
}

/** How many buckets are gathered ahead of the one that is copied out. */
const ahead = 2

export class ParameterShards {
  readonly pieces: readonly (ParameterPiece & { source: ShardPiece })[]
  /** Flat memory for the gathering, per bucket: the gradients' own where the types agree. */
  readonly #flats: readonly Bucket[]

  /** @param parameters those of the exchange, in its order; their masters are copied in pieces and can go */
  constructor(
    private readonly parameters: readonly Parameter[],
    private readonly exchange: GradientExchange,
    private readonly group: ProcessGroup,
  ) {
    this.pieces = exchange.pieces.map((source) => {
      const { index, begin, end } = source
      const { name, tensor, master } = parameters[index]
      return {
        name,
        tensor: viewOf(tensor, begin, end),
        ...(master && { master: copyOf(master, begin, end) }),
        piece: { begin, end, shape: tensor.shape },
        source,
      }
    })
    const [{ tensor }] = parameters
    this.#flats = exchange.buckets.map((bucket) => {
      const { plan } = bucket
      return plan.dtype === plan.stored ? bucket : new Bucket({ ...plan, dtype: plan.stored }, tensor.device)
    })
  }

  /** Puts the exchanged gradients where an optimizer looks for them. */
  takeGradients(): void {
    for (const { tensor, source } of this.pieces) tensor.grad = this.exchange.gradient(source)
  }

  dropGradients(): void {
    for (const { tensor } of this.pieces) {
      tensor.grad?.dispose()
      tensor.grad = null
    }
  }

  /** Gives every process the weights that the others have stepped; overwrites the exchanged gradients. */
  gather(): void {
    this.dropGradients()
    for (const { tensor, source } of this.pieces) {
      const flat = this.#flats[this.exchange.buckets.indexOf(source.bucket)]
      using view = flat.view(source.place, source.place + tensor.count)
      view.copyFrom(tensor)
    }
    const running: Work[] = []
    this.#flats.forEach((flat, i) => {
      while (running.length < Math.min(this.#flats.length, i + ahead))
        running.push(this.#gatherBucket(this.#flats[running.length]))
      running[i].wait()
      for (const { index, begin, end } of flat.plan.places) {
        const { tensor } = this.parameters[index]
        using view = flat.view(begin, end, tensor.shape)
        tensor.copyFrom(view)
      }
    })
  }

  #gatherBucket(flat: Bucket): Work {
    const { begin, end } = this.exchange.shard(flat)
    using own = flat.view(begin, end)
    return this.group.allGather(flat.flat, own)
  }

  /** √ Σ x² over the gradients of all processes (1), of those of this one's pieces. */
  readonly norm = (gradients: readonly Tensor[]): Tensor =>
    scope(() => {
      const own = gradients.length > 0 ? globalNorm(gradients).item() : 0
      const device = this.parameters[0].tensor.device
      const squares = Tensor.from([own * own], [1], { device })
      this.group.allReduce(squares).wait()
      return Tensor.from([Math.sqrt(squares.item())], [1], { device })
    })

  dispose(): void {
    this.dropGradients()
    for (const { tensor, master } of this.pieces) {
      tensor.dispose()
      master?.dispose()
    }
    this.#flats.forEach((flat, i) => {
      if (flat !== this.exchange.buckets[i]) flat.dispose()
    })
  }
}

function copyOf(tensor: Tensor, begin: number, end: number): Tensor {
  using view = viewOf(tensor, begin, end)
  const copy = keep(Tensor.empty([end - begin], { dtype: tensor.dtype, device: tensor.device }))
  copy.copyFrom(view)
  return copy
}
