/** A model in a thread of its own, so that the caller's event loop stays free while it loads and draws. */
import { Worker } from 'node:worker_threads'
import { StarError } from '../native/error.js'
import type { AttendRequest, Drawing, DrawingModel, DrawOptions, StarInfo, WordMaps } from './drawing-model.js'
import type { LoadModelOptions } from './loaded-model.js'
import { type Message, type Request, receivedError, type ThreadInput } from './messages.js'

/** One promise that the thread's next message settles. */
type Settle<T> = { resolve: (value: T) => void; reject: (error: unknown) => void }

function settled<T>(): Settle<T> & { promise: Promise<T> } {
  let settle: Settle<T>
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject }
  })
  return { promise, ...settle! }
}

const stopped = (cause?: unknown): StarError =>
  new StarError('ERR_INTERNAL', 'the thread of the model ended unexpectedly: load the model again', { cause })

export class ThreadModel implements DrawingModel {
  readonly #thread: Worker
  readonly #ended: Promise<void>
  #drawing: (Settle<Uint8Array[]> & Pick<DrawOptions, 'onScale'>) | null = null
  #preview: Settle<Uint8Array[]> | null = null
  #lastPreview: Uint8Array[] | null = null
  readonly #attending = new Map<number, Settle<WordMaps[]>>()
  #attended = 0
  #failure: StarError | null = null

  private constructor(
    thread: Worker,
    readonly info: StarInfo,
  ) {
    this.#thread = thread
    this.#ended = new Promise((resolve) => thread.on('exit', () => resolve()))
    thread.on('message', (message: Message) => this.#receive(message))
    thread.on('error', (error) => this.#fail(stopped(error)))
    thread.on('exit', () => this.#fail(stopped()))
    // A model that draws nothing does not keep the program running.
    thread.unref()
  }

  /** @throws as `Star.load` */
  static async load(nameOrPath: string, options: LoadModelOptions = {}): Promise<ThreadModel> {
    const { onDownload, onNotice, signal, ...rest } = options
    const input: ThreadInput = { nameOrPath, options: rest }
    const thread = new Worker(new URL('./thread.js', import.meta.url), {
      workerData: input,
      // Flags of the program, such as --input-type, are not for the thread.
      execArgv: [],
      // Named, because test runners put an object of their own in its place, which the default does not see.
      env: process.env,
    })
    const abort = (): void => thread.postMessage({ kind: 'abort' } satisfies Request)
    signal?.addEventListener('abort', abort, { once: true })
    const { promise, resolve, reject } = settled<StarInfo>()
    const listen = (message: Message): void => {
      if (message.kind === 'download') onDownload?.(message.progress)
      else if (message.kind === 'notice') onNotice?.(message.message, message.about)
      else if (message.kind === 'ready') resolve(message.info)
      else if (message.kind === 'failed') reject(receivedError(message.error))
    }
    const crash = (error: Error): void => reject(stopped(error))
    const exit = (): void => reject(stopped())
    thread.on('message', listen).on('error', crash).on('exit', exit)
    try {
      const model = new ThreadModel(thread, await promise)
      thread.off('message', listen).off('error', crash).off('exit', exit)
      return model
    } catch (error) {
      await thread.terminate()
      throw error
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  #send(request: Request): void {
    this.#thread.postMessage(request)
  }

  async draw(drawings: readonly Drawing[], options: DrawOptions): Promise<Uint8Array[]> {
    if (this.#failure) throw this.#failure
    const { settings, size, lora, onScale, signal } = options
    const abort = (): void => this.#send({ kind: 'abort' })
    try {
      const { promise, ...settle } = settled<Uint8Array[]>()
      this.#drawing = { ...settle, onScale }
      this.#hold()
      this.#lastPreview = null
      this.#send({ kind: 'draw', drawings, settings, size, lora, watched: onScale !== undefined })
      signal.addEventListener('abort', abort, { once: true })
      if (signal.aborted) abort()
      return await promise
    } finally {
      signal.removeEventListener('abort', abort)
      this.#drawing = null
      this.#hold()
    }
  }

  async attend(request: AttendRequest): Promise<WordMaps[]> {
    if (this.#failure) throw this.#failure
    const { promise, ...settle } = settled<WordMaps[]>()
    const id = this.#attended++
    this.#attending.set(id, settle)
    this.#hold()
    this.#send({ kind: 'attend', id, request })
    try {
      return await promise
    } finally {
      this.#attending.delete(id)
      this.#hold()
    }
  }

  /** Keeps the program running as long as somebody waits for the thread. */
  #hold(): void {
    if (this.#drawing || this.#attending.size > 0) this.#thread.ref()
    else this.#thread.unref()
  }

  #receive(message: Message): void {
    if (message.kind === 'scale') void this.#show(message)
    else if (message.kind === 'preview') {
      this.#lastPreview = message.pixels
      this.#preview?.resolve(message.pixels)
    } else if (message.kind === 'previewFailed') this.#preview?.reject(receivedError(message.error))
    else if (message.kind === 'drawn') this.#drawing?.resolve(message.pixels ?? this.#lastPreview!)
    else if (message.kind === 'failed') this.#drawing?.reject(receivedError(message.error))
    else if (message.kind === 'attended') {
      const { id, result } = message
      const waiting = this.#attending.get(id)
      if (Array.isArray(result)) waiting?.resolve(result)
      else waiting?.reject(receivedError(result))
    }
  }

  async #show({ scaleIndex, scales }: Message & { kind: 'scale' }): Promise<void> {
    const preview = (): Promise<Uint8Array[]> => {
      const { promise, ...settle } = settled<Uint8Array[]>()
      this.#preview = settle
      this.#send({ kind: 'preview' })
      return promise
    }
    try {
      await this.#drawing?.onScale?.({ scaleIndex, scales, preview })
      this.#send({ kind: 'continue' })
    } catch (error) {
      this.#drawing?.reject(error)
      this.#send({ kind: 'abort' })
    }
  }

  #fail(failure: StarError): void {
    this.#failure ??= failure
    this.#drawing?.reject(this.#failure)
    this.#preview?.reject(this.#failure)
    for (const waiting of this.#attending.values()) waiting.reject(this.#failure)
  }

  async dispose(): Promise<void> {
    if (this.#failure) return
    this.#thread.ref()
    this.#send({ kind: 'dispose' })
    await this.#ended
  }
}
