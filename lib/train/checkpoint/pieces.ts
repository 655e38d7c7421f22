/** Tensors of checkpoints that lie there in pieces, each with the elements it has of the whole: `name[begin:end]`. */
import { StarError } from '../../native/index.js'
import { parsePieceName } from '../../optim/index.js'
import { Tensor } from '../../tensor/index.js'

interface Part {
  begin: number
  end: number
  tensor: Tensor
}

/** Whether a checkpoint with these names is one of pieces. */
export function hasPieces(names: Iterable<string>): boolean {
  for (const name of names) if ('begin' in parsePieceName(name)) return true
  return false
}

/** Elements [begin, end) of a tensor, flattened. */
function part(tensor: Tensor, begin: number, end: number): Tensor {
  const flat = tensor.handle.reshape([tensor.count])
  const view = new Tensor(flat.slice(begin, end))
  flat.release()
  return view
}

export class Stored {
  readonly #parts = new Map<string, Part[]>()

  /** @param file for messages */
  constructor(
    private readonly file: string,
    tensors: ReadonlyMap<string, Tensor>,
  ) {
    for (const [given, tensor] of tensors) {
      const { name, begin = 0, end = tensor.count } = { begin: undefined, end: undefined, ...parsePieceName(given) }
      this.#parts.set(name, [...(this.#parts.get(name) ?? []), { begin, end, tensor }])
    }
    for (const parts of this.#parts.values()) parts.sort((a, b) => a.begin - b.begin)
  }

  names(): Iterable<string> {
    return this.#parts.keys()
  }

  has(name: string): boolean {
    return this.#parts.has(name)
  }

  /** Number of elements. */
  #count(name: string): number {
    return this.#parts.get(name)?.at(-1)?.end ?? 0
  }

  /** All elements, flattened unless they lie there as a whole. */
  whole(name: string): Tensor {
    const parts = this.#parts.get(name) ?? []
    if (parts.length === 1 && parts[0].begin === 0) return parts[0].tensor
    const whole = Tensor.empty([this.#count(name)])
    this.#copy(name, 0, whole.count, whole)
    return whole
  }

  /**
   * Copies what is stored to tensors of the same names, or to the pieces that their names tell.
   * @param complete tensors whose names must be all those that are stored
   * @throws ERR_SHAPE where elements are missing or too many, or a name
   */
  restore(targets: Iterable<readonly [string, Tensor]>, complete?: Iterable<readonly [string, Tensor]>): void {
    if (complete) {
      const known = new Set(Array.from(complete, ([name]) => name))
      const unexpected = [...this.#parts.keys()].filter((name) => !known.has(name))
      if (unexpected.length > 0)
        this.#refuse(`it has no ${unexpected.slice(0, 3).join(', ')}, which the checkpoint has`)
    }
    for (const [given, tensor] of targets) {
      const { name, begin = 0, end = tensor.count } = { begin: undefined, end: undefined, ...parsePieceName(given) }
      if (!this.has(name)) this.#refuse(`the checkpoint has no ${name}`)
      const whole = 'begin' in parsePieceName(given) ? end : tensor.count
      if (
        this.#count(name) < whole ||
        (begin === 0 && end === tensor.count && given === name && this.#count(name) !== end)
      )
        this.#refuse(`${name} has ${this.#count(name)} elements in the checkpoint, expected ${whole}`)
      this.#copy(name, begin, end, tensor)
    }
  }

  /** Elements [begin, end) into `to`, flattened. */
  #copy(name: string, begin: number, end: number, to: Tensor): void {
    let place = begin
    for (const { begin: first, end: last, tensor } of this.#parts.get(name)!) {
      const [from, until] = [Math.max(first, place), Math.min(last, end)]
      if (from >= until) continue
      if (from > place) break
      using target = part(to, from - begin, until - begin)
      using source = part(tensor, from - first, until - first)
      target.copyFrom(source)
      place = until
    }
    if (place < end) this.#refuse(`elements from ${place} on of ${name} are missing in the checkpoint`)
  }

  #refuse(what: string): never {
    throw new StarError('ERR_SHAPE', `${this.file} does not fit the model: ${what}`)
  }
}
