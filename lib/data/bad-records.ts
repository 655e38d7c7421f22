/** Records of a data set that turned out damaged: counted, told once each, and too many of them end the training. */
import { oneLine } from '../native/error.js'
import { StarError } from '../native/index.js'

export class BadRecords {
  readonly #known = new Set<string>()
  #first = ''

  /**
   * @param share largest part of the records that may be bad
   * @param total records of the data set, or those met so far where nobody knows
   * @param tell told of each bad record once, in a line that does nothing to a terminal, whatever its data holds
   */
  constructor(
    readonly share: number,
    readonly total: () => number,
    readonly tell: (message: string) => void,
  ) {}

  get count(): number {
    return this.#known.size
  }

  /** What is wrong with the first of them. */
  get first(): string {
    return this.#first
  }

  has(record: string): boolean {
    return this.#known.has(record)
  }

  /** @throws ERR_FILE once more are bad than may be */
  add(record: string, message: string): void {
    if (this.#known.has(record)) return
    this.#known.add(record)
    const line = oneLine(message)
    this.#first ||= line
    this.tell(line)
    const total = this.total()
    if (this.count > this.share * total)
      throw new StarError(
        'ERR_FILE',
        `${this.count} of ${total} images are damaged, more than the share of ${this.share} that "data.badShare" allows; the first: ${this.#first}. Run "star pack verify" on the data, copy it again, or allow more`,
      )
  }
}
