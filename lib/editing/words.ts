/**
 * Editing by words: what of a picture changes when another prompt takes the place of the one that it shows, and how strongly the rest
 * is held (El-Ghoussani et al. 2026, "Masked Logit Nudging", arXiv 2604.14591).
 */
import type { GivenPicture, PictureSize } from '../sampling/index.js'
import { type Change, changeWhole, type ModelSizes } from './change.js'
import type { PictureSource } from './raster.js'

/** How much each position of a picture attends to a word. */
export interface WordMap {
  word: string
  map: Float32Array
}

/** Strength by which logits are led to the picture's tokens where nothing changes. */
const heldStrength = 12
/** The same where something changes, of ten scales from the coarsest to the finest; other numbers of scales lie between. */
const changedStrengths = [6, 6, 6, 6, 6, 4, 2, 0, 0, 0]
/** Share of the scales that are kept whole: the first two of ten. */
const keptShare = 0.2

/** Strengths of so many scales, linearly between those of ten. */
export const strengthsOf = (scales: number): number[] =>
  Array.from({ length: scales }, (_, k) => {
    const at = scales === 1 ? 0 : (k * (changedStrengths.length - 1)) / (scales - 1)
    const low = Math.floor(at)
    const next = changedStrengths[Math.min(low + 1, changedStrengths.length - 1)]
    return changedStrengths[low] + (at - low) * (next - changedStrengths[low])
  })

const sameWord = (a: WordMap, b: WordMap): boolean => a.word.toLowerCase() === b.word.toLowerCase()

/** Pairs of the same words in their order, as many as there are (the longest common subsequence), and the words left over. */
function aligned(a: readonly WordMap[], b: readonly WordMap[]): [WordMap | null, WordMap | null][] {
  const most = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0))
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      most[i][j] = sameWord(a[i], b[j]) ? most[i + 1][j + 1] + 1 : Math.max(most[i + 1][j], most[i][j + 1])
  const pairs: [WordMap | null, WordMap | null][] = []
  let [i, j] = [0, 0]
  while (i < a.length || j < b.length)
    if (i < a.length && j < b.length && sameWord(a[i], b[j])) pairs.push([a[i++], b[j++]])
    else if (j >= b.length || (i < a.length && most[i + 1][j] >= most[i][j + 1])) pairs.push([a[i++], null])
    else pairs.push([null, b[j++]])
  return pairs
}

/**
 * How differently positions attend to two prompts: Σ_w |A_from(w) − A_to(w)| over the words of both, those that only one of them has
 * counting with their own attention.
 */
export function attentionDifference(from: readonly WordMap[], to: readonly WordMap[]): Float32Array {
  const { length } = (from[0] ?? to[0]).map
  const sum = new Float32Array(length)
  for (const [a, b] of aligned(from, to))
    for (let i = 0; i < length; i++) sum[i] += Math.abs((a?.map[i] ?? 0) - (b?.map[i] ?? 0))
  return sum
}

/** 1 at the positions of the highest values, a share of all, and 0 elsewhere; the first of equals comes first. */
export function highest(values: Float32Array, share: number): Float32Array {
  const order = [...values.keys()].sort((a, b) => values[b] - values[a] || a - b)
  const mask = new Float32Array(values.length)
  for (const i of order.slice(0, Math.max(1, Math.round(share * values.length)))) mask[i] = 1
  return mask
}

/** A change of a picture by words, whose maps are yet to be read. */
export interface WordChange extends Change {
  /** What the model is given, of the maps of both prompts. */
  nudged(from: readonly WordMap[], to: readonly WordMap[]): GivenPicture
}

/** How far words change a picture. */
export interface WordRegion {
  /** Share of the positions that change. The paper's is 0.3: those above the 0.7 quantile of the difference. */
  share: number
  /** 0.5: the paper's strengths and kept scales; both are multiplied by 2·(1 − strength). */
  strength: number
  /** That is drawn; default: the model's square. */
  size?: PictureSize
}

/** @throws as `changeWhole` */
export async function changeWords(
  source: PictureSource,
  { share, strength, size }: WordRegion,
  model: ModelSizes,
): Promise<WordChange> {
  const change = await changeWhole(source, { strength: 1, size }, model)
  const scales = model.scales.length
  const held = 2 * (1 - strength)
  return {
    ...change,
    nudged: (from, to) => ({
      ...change.given,
      keptScales: Math.round(held * keptShare * scales),
      nudge: {
        strengths: strengthsOf(scales).map((own) => held * own),
        within: { shares: highest(attentionDifference(from, to), share), outside: heldStrength },
      },
    }),
  }
}
