/**
 * The queue in front of a model: calls are drawn by priority, then in the order they came, and pictures of waiting calls with the
 * same settings are drawn together.
 */
import { StarError } from '../native/error.js'
import type { PictureSize, SamplingSettings } from '../sampling/index.js'
import type { Drawing, DrawingModel, DrawnScale } from './drawing-model.js'

export interface CallOptions {
  /** Seeds are in the drawings. */
  settings: SamplingSettings
  /** Of its pictures; default: the model's square. */
  size?: PictureSize
  /** Strengths of the model's LoRAs; default: as they were loaded. */
  lora?: readonly number[]
  /** Drawn together at most. */
  batchSize: number
  /** The highest is drawn first. */
  priority: number
  /** Of work that was begun, which is not refused however many calls wait. */
  admitted?: boolean
  signal?: AbortSignal
  /** Called once, when the model begins with the call's first pictures. */
  onStart?: () => void
  onScale?: (event: CallScale) => void | Promise<void>
}

/** A scale of some pictures of a call. */
export interface CallScale {
  scaleIndex: number
  scales: number
  /** Places of the pictures in the call. */
  images: readonly number[]
  /** R, G, B bytes of these pictures. @throws ERR_ARGUMENT when the callback is over */
  preview(): Promise<Uint8Array[]>
}

/** Pictures of one call in one batch: [begin, end). */
interface Share {
  call: Call
  begin: number
  end: number
}

/** Pictures that a reader may fall behind by; a call further behind waits. */
const mostUnread = 16

class Call {
  /** Pictures that were handed to the model, or are done. */
  taken = 0
  /** Pictures that were read. */
  read = 0
  error: unknown = null
  /** Drawn by itself: together with others it did not fit the memory. */
  alone = false
  readonly done: Uint8Array[] = []
  readonly key: string
  #wake: (() => void) | null = null
  #started = false

  constructor(
    readonly drawings: readonly Drawing[],
    readonly options: CallOptions,
    readonly order: number,
  ) {
    const { seed: _, ...settings } = options.settings
    // A batch has a picture to change for each of its drawings or for none. Drawings of several prompts take more room than others.
    this.key = JSON.stringify([
      settings,
      options.size ?? null,
      options.lora ?? null,
      drawings.some(({ given }) => given),
      Math.max(1, ...drawings.map(({ parts }) => parts?.length ?? 1)),
    ])
  }

  /** Whether there is something to draw that somebody waits for. */
  get hungry(): boolean {
    const unread = this.taken - this.read
    return this.error === null && this.taken < this.drawings.length && unread < mostUnread
  }

  get over(): boolean {
    return this.error !== null || this.taken === this.drawings.length
  }

  /** Tells the caller that the call waits no longer. */
  start(): void {
    if (this.#started || this.error !== null) return
    this.#started = true
    try {
      this.options.onStart?.()
    } catch (error) {
      this.fail(error)
    }
  }

  deliver(pictures: readonly Uint8Array[]): void {
    this.done.push(...pictures)
    this.#wake?.()
  }

  /** Only the first error counts. */
  fail(error: unknown): void {
    this.error ??= error
    this.#wake?.()
  }

  /** The next picture in order. @throws what the call failed with */
  async next(): Promise<Uint8Array> {
    while (this.error === null && this.done.length === 0)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    if (this.error !== null) throw this.error
    this.read++
    return this.done.shift()!
  }
}

const aborted = (reason: unknown): StarError =>
  new StarError('ERR_ABORTED', 'the generation was aborted', { cause: reason })

export class DrawQueue {
  #calls: Call[] = []
  #count = 0
  #closed: StarError | null = null
  #batch: { shares: readonly Share[]; controller: AbortController; over: Promise<void> } | null = null

  /** @param maxWaiting calls that may wait behind those at work */
  constructor(
    private readonly model: Pick<DrawingModel, 'draw'>,
    private readonly maxWaiting: number,
  ) {}

  /**
   * The pictures of a call, one by one in the order of its drawings; a reader that stops early ends the call.
   * @throws ERR_BUSY where too many calls wait, ERR_ABORTED when the signal fires or the queue is closed, what `onScale` throws
   */
  async *draw(drawings: readonly Drawing[], options: CallOptions): AsyncGenerator<Uint8Array> {
    const { signal } = options
    if (this.#closed) throw this.#closed
    if (signal?.aborted) throw aborted(signal.reason)
    const waiting = this.#calls.filter((call) => call.taken === 0).length
    if (!options.admitted && this.#batch && waiting >= this.maxWaiting)
      throw new StarError(
        'ERR_BUSY',
        `${waiting} calls wait for the model, and maxQueue is ${this.maxWaiting}: try again later`,
      )
    const call = new Call(drawings, options, this.#count++)
    const abort = (): void => this.#end(call, aborted(signal?.reason))
    signal?.addEventListener('abort', abort, { once: true })
    this.#calls.push(call)
    this.#calls.sort((a, b) => b.options.priority - a.options.priority || a.order - b.order)
    try {
      for (let i = 0; i < drawings.length; i++) {
        // Calls that come in the same turn can be drawn together.
        queueMicrotask(() => this.#start())
        yield await call.next()
      }
    } finally {
      signal?.removeEventListener('abort', abort)
      this.#end(call, aborted('its reader stopped'))
    }
  }

  /** Ends all calls with ERR_ABORTED and waits until the model is at rest. */
  async close(): Promise<void> {
    this.#closed ??= new StarError('ERR_ABORTED', 'the model was disposed before the generation was done')
    for (const call of [...this.#calls]) this.#end(call, this.#closed)
    for (const { call } of this.#batch?.shares ?? []) this.#end(call, this.#closed)
    await this.#batch?.over
  }

  #end(call: Call, error: StarError): void {
    if (call.read < call.drawings.length) call.fail(error)
    this.#forget()
  }

  /** Drops calls that are over, and stops a batch that nobody waits for any more. */
  #forget(): void {
    this.#calls = this.#calls.filter((call) => !call.over)
    if (this.#batch?.shares.every(({ call }) => call.error !== null)) this.#batch.controller.abort()
  }

  /** Takes the first call that waits, and with it others of the same settings. */
  #takeShares(): Share[] {
    const first = this.#calls.find((call) => call.hungry)
    if (!first) return []
    const shares: Share[] = []
    let [size, most] = [0, Number.POSITIVE_INFINITY]
    for (const call of this.#calls) {
      if (!call.hungry || call.key !== first.key || (call !== first && (call.alone || first.alone))) continue
      const limit = Math.min(most, call.options.batchSize)
      const count = Math.min(limit - size, call.drawings.length - call.taken)
      if (count <= 0) continue
      shares.push({ call, begin: call.taken, end: call.taken + count })
      call.taken += count
      size += count
      most = limit
    }
    return shares
  }

  #start(): void {
    if (this.#batch || this.#closed) return
    const shares = this.#takeShares()
    if (shares.length === 0) return
    const controller = new AbortController()
    const over = this.#run(shares, controller.signal)
    this.#batch = { shares, controller, over }
  }

  /** The model is at rest: the next batch begins before anybody looks at the last one, so that it does not wait for that. */
  #next(): void {
    this.#batch = null
    this.#forget()
    this.#start()
  }

  async #run(shares: readonly Share[], signal: AbortSignal): Promise<void> {
    const drawings = shares.flatMap(({ call, begin, end }) => call.drawings.slice(begin, end))
    const watched = shares.some(({ call }) => call.options.onScale)
    for (const { call, begin } of shares) if (begin === 0) call.start()
    let pixels: Uint8Array[]
    try {
      pixels = await this.model.draw(drawings, {
        settings: shares[0].call.options.settings,
        size: shares[0].call.options.size,
        lora: shares[0].call.options.lora,
        onScale: watched ? (event) => this.#tell(shares, event) : undefined,
        signal,
      })
    } catch (error) {
      const fits = shares.length > 1 && error instanceof StarError && error.code === 'ERR_MEMORY'
      for (const { call, begin } of shares)
        if (fits && call.error === null) this.#again(call, begin)
        else call.fail(error)
      this.#next()
      return
    }
    this.#next()
    let at = 0
    for (const { call, begin, end } of shares) {
      call.deliver(pixels.slice(at, at + end - begin))
      at += end - begin
    }
  }

  /** Pictures that did not fit the memory together with others are drawn by themselves. */
  #again(call: Call, begin: number): void {
    call.taken = begin
    call.alone = true
    if (!this.#calls.includes(call)) this.#calls.push(call)
    this.#calls.sort((a, b) => b.options.priority - a.options.priority || a.order - b.order)
  }

  /** Tells each call of its own pictures; one that throws fails alone. */
  async #tell(shares: readonly Share[], { preview, ...event }: DrawnScale): Promise<void> {
    let open = true
    let pixels: Promise<Uint8Array[]> | null = null
    let at = 0
    const told = shares.map(async ({ call, begin, end }) => {
      const from = at
      at += end - begin
      if (!call.options.onScale || call.error !== null) return
      const own = async (): Promise<Uint8Array[]> => {
        if (!open)
          throw new StarError(
            'ERR_ARGUMENT',
            'preview: this scale is over; call it before onScale (or its promise) is done',
          )
        pixels ??= preview()
        return (await pixels).slice(from, from + end - begin)
      }
      try {
        const images = Array.from({ length: end - begin }, (_, i) => begin + i)
        await call.options.onScale({ ...event, images, preview: own })
      } catch (error) {
        call.fail(error)
      }
    })
    await Promise.all(told)
    open = false
    this.#forget()
  }
}
