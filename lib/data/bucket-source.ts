/**
 * Samples in batches of one bucket each. Samples are taken in the order of another source and wait for others of their bucket; the
 * bucket that is full first is the next batch. So every epoch has every picture once, however many a bucket has, and those left over
 * at its end are the first of their bucket in the next.
 */
import type { FilterCounts } from './filters.js'
import type { SampleSource, SourceStep } from './source.js'

/** A sample that was taken from the source and not given out yet. */
interface Waiting {
  step: SourceStep
  /** Position of the source in front of it. */
  before: unknown
}

/** Position of the source, and of the samples in front of it that were not given out, in its order. */
interface BucketState {
  waiting?: unknown[]
}

export class BucketSource implements SampleSource {
  readonly #source: SampleSource
  /** Of each bucket, in the order of the source. */
  readonly #waiting: Waiting[][]
  /** Positions of samples that wait according to a restored state, to be read again, and where the source goes on then. */
  #saved: { waiting: unknown[]; after: unknown } | null = null
  #current = 0

  /** @param buckets how many there are */
  constructor(source: SampleSource, buckets: number) {
    this.#source = source
    this.#waiting = Array.from({ length: buckets }, () => [])
  }

  get length(): number | null {
    return this.#source.length
  }

  get ownOrder(): boolean {
    return this.#source.ownOrder
  }

  get leftOut(): FilterCounts {
    return this.#source.leftOut
  }

  /**
   * Chooses the bucket that `next` takes from: the first in which `count` samples wait. At the end of the source, which a single pass
   * over the data reaches, the first bucket that has any left; `next` then gives fewer than `count`.
   */
  async select(count: number): Promise<void> {
    await this.#readSaved()
    for (;;) {
      const full = this.#firstWith(count)
      if (full !== null) {
        this.#current = full
        return
      }
      if (!(await this.#take())) break
    }
    this.#current = Math.max(
      0,
      this.#waiting.findIndex((queue) => queue.length > 0),
    )
  }

  /** The bucket whose `count`-th sample came first; null where none has so many. */
  #firstWith(count: number): number | null {
    let first: number | null = null
    const last = (bucket: number): SourceStep => this.#waiting[bucket][count - 1].step
    for (let b = 0; b < this.#waiting.length; b++)
      if (this.#waiting[b].length >= count && (first === null || isBefore(last(b), last(first)))) first = b
    return first
  }

  /** The next sample of the bucket that was selected. */
  async next(): Promise<SourceStep | null> {
    await this.#readSaved()
    const queue = this.#waiting[this.#current]
    while (queue.length === 0) if (!(await this.#take())) return null
    return queue.shift()!.step
  }

  /** Lets the source's next sample wait; false at its end. */
  async #take(): Promise<boolean> {
    const before = this.#source.state()
    const step = await this.#source.next()
    if (step) this.#waiting[step.bucket].push({ step, before })
    return step !== null
  }

  async #readSaved(): Promise<void> {
    const saved = this.#saved
    if (!saved) return
    this.#saved = null
    for (const before of saved.waiting) {
      this.#source.restore(before)
      await this.#take()
    }
    this.#source.restore(saved.after)
  }

  state(): unknown {
    if (this.#saved) return { ...(this.#saved.after as object), waiting: this.#saved.waiting }
    const waiting = this.#waiting.flat().sort((a, b) => (isBefore(a.step, b.step) ? -1 : 1))
    return { ...(this.#source.state() as object), waiting: waiting.map(({ before }) => before) }
  }

  restore(state: unknown): void {
    const { waiting = [], ...after } = state as BucketState
    for (const queue of this.#waiting) queue.length = 0
    this.#source.restore(after)
    this.#saved = { waiting, after }
  }

  close(): void {
    this.#source.close()
  }
}

const isBefore = (a: SourceStep, b: SourceStep): boolean =>
  a.epoch < b.epoch || (a.epoch === b.epoch && a.position < b.position)
