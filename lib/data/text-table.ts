/** Lists of texts packed into a few buffers, for data sets of millions of records: no object a record. */

const firstBytes = 1 << 16

export class TextTable {
  #bytes = Buffer.alloc(firstBytes)
  #used = 0
  /** Where each record begins, and where the last ends. */
  #offsets = new Float64Array(1024)
  #length = 0

  get length(): number {
    return this.#length
  }

  add(texts: readonly string[]): void {
    const record = Buffer.from(JSON.stringify(texts))
    if (this.#used + record.length > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(2 * this.#bytes.length, this.#used + record.length))
      this.#bytes.copy(larger, 0, 0, this.#used)
      this.#bytes = larger
    }
    if (this.#length + 2 > this.#offsets.length) {
      const longer = new Float64Array(2 * this.#offsets.length)
      longer.set(this.#offsets)
      this.#offsets = longer
    }
    record.copy(this.#bytes, this.#used)
    this.#used += record.length
    this.#offsets[++this.#length] = this.#used
  }

  /** The i-th record, i < length. */
  get(i: number): string[] {
    return JSON.parse(this.#bytes.toString('utf8', this.#offsets[i], this.#offsets[i + 1])) as string[]
  }
}
