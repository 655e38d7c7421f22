/** The tokens that a training step computes when it leaves some out: finer scales not yet trained, or dropped positions. */
import { StarError } from '../../native/index.js'
import { embedding, type Random, reshape, Tensor } from '../../tensor/index.js'
import type { Level } from './config.js'

/** Tokens chosen out of all L, the same ones of every sample. */
export class TokenSubset {
  /** Where the tokens of each scale lie among the chosen ones; a scale of which none is chosen has an empty range. */
  readonly levels: readonly Level[]
  /** Scale of each chosen token. */
  readonly scaleIds: Int32Array

  /**
   * @param all the ranges of all tokens
   * @param positions of the chosen tokens among all, ascending, the whole first scale included
   * @throws ERR_ARGUMENT for other positions
   */
  constructor(
    readonly all: readonly Level[],
    readonly positions: Int32Array,
  ) {
    const first = all[0].end
    const length = all[all.length - 1].end
    const wrong = positions.findIndex(
      (p, i) => p >= length || (i < first ? p !== i : p <= (i === 0 ? -1 : positions[i - 1])),
    )
    if (wrong >= 0 || positions.length < first)
      throw new StarError(
        'ERR_ARGUMENT',
        `token subset: position ${Math.max(wrong, 0)} is ${positions[wrong] ?? 'missing'}, expected ascending positions below ` +
          `${length} that begin with the ${first} of the first scale`,
      )
    let at = 0
    this.levels = all.map(({ rows, cols, end }) => {
      const begin = at
      while (at < positions.length && positions[at] < end) at++
      return { rows, cols, begin, end: at }
    })
    this.scaleIds = new Int32Array(positions.length)
    this.levels.forEach(({ begin, end }, k) => {
      this.scaleIds.fill(k, begin, end)
    })
  }

  /** Number of chosen tokens, n. */
  get length(): number {
    return this.positions.length
  }

  /** Teacher-forcing input of the chosen tokens: (B, L − p₁², Z) → (B, n − p₁², Z). No gradient flows through it. */
  cutInput(input: Tensor): Tensor {
    const [batch, rows, channels] = input.shape
    const first = this.all[0].end
    const wanted = this.positions.subarray(first)
    if (wanted.length === 0) return Tensor.empty([batch, 0, channels], { device: input.device })
    const ids = new Int32Array(batch * wanted.length)
    for (let b = 0; b < batch; b++)
      wanted.forEach((p, i) => {
        ids[b * wanted.length + i] = b * rows + p - first
      })
    const places = Tensor.from(ids, [batch, wanted.length], { device: input.device })
    return embedding(reshape(input, [batch * rows, channels]), places)
  }

  /** Targets of the chosen tokens: i32 (B, L) → (B, n). */
  cutTargets(targets: Tensor): Tensor {
    const [batch, length] = targets.shape
    const from = targets.ints()
    const to = new Int32Array(batch * this.length)
    for (let b = 0; b < batch; b++)
      this.positions.forEach((p, i) => {
        to[b * this.length + i] = from[b * length + p]
      })
    return Tensor.from(to, [batch, this.length], { device: targets.device })
  }
}

/** Token drop: of the scales from `fromScale` on, positions are left out at random until `keep` tokens remain in all. */
export interface TokenDrop {
  fromScale: number
  keep: number
}

/**
 * The tokens of one training step: those of the first `scales` scales, less what token drop leaves out (the
 * reference implementation drops the same positions in all samples of a batch, drawn anew every step). Null: all tokens, and
 * `random` is then left as it is.
 */
export function chooseTokens(
  levels: readonly Level[],
  { scales = levels.length, drop = null }: { scales?: number; drop?: TokenDrop | null },
  random: Random,
): TokenSubset | null {
  const { end } = levels[scales - 1]
  const keep = Math.min(end, drop?.keep ?? end)
  if (keep === levels[levels.length - 1].end) return null
  const positions = Int32Array.from({ length: end }, (_, i) => i)
  if (!drop || keep === end) return new TokenSubset(levels, positions)
  const { begin } = levels[drop.fromScale]
  random.shuffle(positions.subarray(begin))
  return new TokenSubset(levels, positions.slice(0, keep).sort())
}
