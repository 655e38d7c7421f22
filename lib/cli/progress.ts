/** A progress bar on standard error, where that is a terminal; nothing where it is not. */
import { SingleBar } from 'cli-progress'

export class Progress {
  readonly #bar: SingleBar | null
  #started = false

  /** @param label what is being done; `{detail}` of `update` is shown after the bar */
  constructor(label: string, stream: NodeJS.WriteStream = process.stderr) {
    this.#bar = stream.isTTY
      ? new SingleBar({
          stream,
          format: `${label} [{bar}] {value}/{total} {eta_formatted} {detail}`,
          hideCursor: true,
          clearOnComplete: true,
          barsize: 30,
        })
      : null
  }

  get visible(): boolean {
    return this.#bar !== null
  }

  update(done: number, total: number, detail = ''): void {
    if (!this.#bar) return
    if (this.#started) this.#bar.setTotal(total)
    else this.#bar.start(total, done, { detail })
    this.#started = true
    this.#bar.update(done, { detail })
  }

  stop(): void {
    if (this.#started) this.#bar?.stop()
    this.#started = false
  }

  [Symbol.dispose](): void {
    this.stop()
  }
}
