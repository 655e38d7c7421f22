/**
 * Data parallel training: the gradients of all processes are summed in buckets, each as soon as backward is through with its
 * parameters, while the rest of backward runs (Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel
 * Training", 2020). Whole (every process gets all sums), or sharded (each gets its part of every bucket; Rajbhandari et al.,
 * "ZeRO", 2020, stage 1).
 */
import { type DType, keep, scope, type Tensor, zeros } from '../tensor/index.js'
import { Bucket, type BucketSizes, type Place, planBuckets, shardAlignment, standardSizes } from './buckets.js'
import type { ProcessGroup, Work } from './process-group.js'

export interface GradientExchangeOptions {
  group: ProcessGroup
  /** What a gradient is exchanged in; default: the type of its parameter. */
  dtype?: DType
  /** Leaves each process with the sums of its shard alone. */
  sharded?: boolean
  sizes?: Omit<BucketSizes, 'multiple'>
}

/** The exchange of a bucket, for benchmarks, in milliseconds after `begin`. */
export interface BucketTrace {
  bytes: number
  /** When it began. */
  readyMs: number
  /** When it was first seen to be over: a look is taken whenever a gradient is ready. */
  doneMs: number
}

/** Elements [begin, end) of a parameter, flattened, that lie in this process's shard. */
export interface ShardPiece {
  /** Of the parameter, in the order given. */
  index: number
  begin: number
  end: number
  bucket: Bucket
  /** Where they are in the bucket. */
  place: number
}

interface Slot {
  bucket: number
  place: Place
  ready: boolean
}

export class GradientExchange {
  readonly buckets: readonly Bucket[]
  /** What lies in this process's shard of the buckets; empty unless sharded. */
  readonly pieces: readonly ShardPiece[]
  /** The buckets of the last exchange in order. */
  readonly trace: BucketTrace[] = []
  readonly #group: ProcessGroup
  readonly #sharded: boolean
  readonly #slots: readonly Slot[]
  readonly #indices: ReadonlyMap<Tensor, number>
  /** i32 (parameters): processes whose backward reached it. */
  readonly #flags: Tensor
  #missing: number[] = []
  #works: Work[] = []
  /** How many of them were seen to be over. */
  #over = 0
  #begun = 0

  constructor(
    private readonly parameters: readonly Tensor[],
    { group, dtype, sharded = false, sizes = standardSizes }: GradientExchangeOptions,
  ) {
    const [{ device }] = parameters
    const contents = parameters.map((p) => ({ count: p.count, dtype: dtype ?? p.dtype, stored: p.dtype }))
    const plans = planBuckets(contents, { ...sizes, multiple: shardAlignment * group.size })
    this.buckets = plans.map((plan) => new Bucket(plan, device))
    const slots: Slot[] = []
    plans.forEach(({ places }, bucket) => {
      for (const place of places) slots[place.index] = { bucket, place, ready: false }
    })
    this.#slots = slots
    this.#indices = new Map(parameters.map((p, i) => [p, i]))
    this.#flags = keep(zeros([parameters.length], { dtype: 'i32', device }))
    this.#group = group
    this.#sharded = sharded
    this.pieces = sharded ? this.buckets.flatMap((bucket) => this.#piecesOf(bucket)) : []
  }

  /** Elements of a bucket that are this process's. */
  shard(bucket: Bucket): { begin: number; end: number } {
    const { rank, size } = this.#group
    const length = bucket.plan.length / size
    return { begin: rank * length, end: (rank + 1) * length }
  }

  #piecesOf(bucket: Bucket): ShardPiece[] {
    const shard = this.shard(bucket)
    return bucket.plan.places.flatMap(({ index, begin, end }) => {
      const [from, to] = [Math.max(begin, shard.begin), Math.min(end, shard.end)]
      return from < to ? [{ index, begin: from - begin, end: to - begin, bucket, place: from }] : []
    })
  }

  /** To be called before the backward that completes the gradients, which is then given `ready`. */
  begin(): void {
    this.#missing = this.buckets.map(({ plan }) => plan.places.length)
    for (const slot of this.#slots) slot.ready = false
    this.trace.length = 0
    this.#over = 0
    this.#begun = performance.now()
  }

  /** Takes a parameter's gradient into its bucket; the exchange of a bucket that is full with it begins. */
  readonly ready = (leaf: Tensor): void => {
    const index = this.#indices.get(leaf)
    if (index === undefined) return
    const { grad } = leaf
    const slot = this.#slots[index]
    const bucket = this.buckets[slot.bucket]
    using view = bucket.view(slot.place.begin, slot.place.end, leaf.shape)
    if (grad) view.copyFrom(grad)
    else scope(() => view.copyFrom(zeros(leaf.shape, { dtype: bucket.plan.dtype, device: leaf.device })))
    grad?.dispose()
    leaf.grad = null
    slot.ready = true
    this.#missing[slot.bucket] -= 1
    this.#start()
    this.#look()
  }

  /** Notes which exchanges are over. They end in order. */
  #look(): void {
    for (let i = this.#over; i < this.#works.length && this.#works[i].done; i++) {
      this.trace[i].doneMs = performance.now() - this.#begun
      this.#over = i + 1
    }
  }

  /** Begins the exchange of buckets that are full, in the same order on every process. */
  #start(): void {
    while (this.#works.length < this.buckets.length && this.#missing[this.#works.length] === 0) {
      const bucket = this.buckets[this.#works.length]
      this.trace.push({ bytes: bucket.bytes, readyMs: performance.now() - this.#begun, doneMs: Number.NaN })
      this.#works.push(this.#exchange(bucket))
    }
  }

  #exchange(bucket: Bucket): Work {
    if (!this.#sharded) return this.#group.allReduce(bucket.flat)
    const { begin, end } = this.shard(bucket)
    using own = bucket.view(begin, end)
    return this.#group.reduceScatter(own, bucket.flat)
  }

  /**
   * Exchanges what is left and waits. Then the sums over all processes are in `.grad` of every parameter that the backward
   * of any process reached (views of the buckets, until the next `begin`), or, sharded, what `gradient` gives.
   * @throws ERR_COMM when a process is lost
   */
  finish(): void {
    const late = this.#slots.flatMap(({ ready }, index) => (ready ? [] : [index]))
    const unused = late.filter((index) => this.parameters[index].grad === null)
    const flags = new Int32Array(this.#slots.length).fill(1)
    for (const index of unused) flags[index] = 0
    this.#flags.write(flags)
    for (const index of late) this.ready(this.parameters[index])
    const flagged = this.#group.allReduce(this.#flags)
    for (const work of this.#works) {
      work.wait()
      this.#look()
    }
    flagged.wait()
    this.#works = []
    // Only who missed a parameter has to ask whether others had it.
    const counts = unused.length > 0 ? this.#flags.ints() : null
    this.#slots.forEach(({ bucket, place }, index) => {
      const parameter = this.parameters[index]
      if (counts && counts[index] === 0) this.#slots[index].ready = false
      else if (!this.#sharded) parameter.grad = this.buckets[bucket].view(place.begin, place.end, parameter.shape)
    })
  }

  /** The summed gradient of a piece of the shard; null for a parameter that no process's backward reached. */
  gradient({ index, begin, end, bucket, place }: ShardPiece): Tensor | null {
    return this.#slots[index].ready ? bucket.view(place, place + end - begin) : null
  }

  dispose(): void {
    for (const bucket of this.buckets) bucket.dispose()
    this.#flags.dispose()
  }
}

/**
 * Gives every process the tensors of the first.
 * @throws ERR_COMM when a process is lost
 */
export function broadcastTensors(tensors: Iterable<Tensor>, group: ProcessGroup): void {
  const works = group.batch(() => Array.from(tensors, (tensor) => group.broadcast(tensor)))
  for (const work of works) work.wait()
}
