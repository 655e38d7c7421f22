/** Constants of a module by the shape of the pictures that it works on. */
import { type Grid, squareGrid } from '../grid.js'

/**
 * Other shapes than the square whose tables are kept; the one used longest ago goes first. More than there are recorded generations
 * (lib/sampling/graphs.ts), which know where the tables of their shapes lie.
 */
const shapesKept = 16

/** Tables of the square, which live as long as the module, and of the shapes used last. */
export class ShapeTables<T extends { dispose(): void }> {
  readonly #square: T
  readonly #side: number
  readonly #others = new Map<string, T>()

  constructor(
    patchNums: readonly number[],
    private readonly make: (last: Grid) => T,
  ) {
    this.#side = patchNums[patchNums.length - 1]
    this.#square = make(squareGrid(this.#side))
  }

  /** @param last the last scale's map; default: the square */
  of(last?: Grid): T {
    if (!last || (last.rows === this.#side && last.cols === this.#side)) return this.#square
    const key = `${last.rows}×${last.cols}`
    const tables = this.#others.get(key) ?? this.make(last)
    // Last in the map is used last.
    this.#others.delete(key)
    this.#others.set(key, tables)
    if (this.#others.size > shapesKept) {
      const [[oldest, unused]] = this.#others
      unused.dispose()
      this.#others.delete(oldest)
    }
    return tables
  }

  dispose(): void {
    this.#square.dispose()
    for (const tables of this.#others.values()) tables.dispose()
    this.#others.clear()
  }
}
