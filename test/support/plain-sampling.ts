/** Sampling of one picture in plain numbers, from the papers' formulas, to compare the library's with. */
import type { StarTransformer, TextInput } from '../../lib/models/star/index.js'
import type { Tokenizer } from '../../lib/models/tokenizer/index.js'
import { seededNoise } from '../../lib/sampling/index.js'
import { noGrad, Tensor } from '../../lib/tensor/index.js'

export interface PlainGeneration {
  text: TextInput
  /** Rows of the text, and the power of each one's distribution. */
  texts: readonly { row: number; share: number }[]
  /** Row that guidance leads away from. */
  away: number
  settings: { cfg: number; seed: number }
  /** Tokens of a picture for each scale, and how far each of them is kept. */
  given?: { tokens: readonly Int32Array[]; masks: readonly (readonly number[])[] }
}

/** Some rows of texts that all have the same length. */
function rowsOf({ states, pooled, mask }: TextInput, rows: readonly number[]): TextInput {
  if (mask) throw new Error('plainGeneration takes texts without a mask')
  const pick = (x: Tensor): Tensor => {
    const size = x.count / x.dim(0)
    const values = x.floats()
    return Tensor.from(
      rows.flatMap((row) => [...values.subarray(row * size, (row + 1) * size)]),
      [rows.length, ...x.shape.slice(1)],
    )
  }
  return { states: pick(states), pooled: pick(pooled), mask: null }
}

/**
 * Tokens that are drawn at each scale, and f̂: logits by teacher forcing, guided and mixed number by number, tokens of all by the
 * inverse of the cumulative sum, code vectors mixed by hand. To be called in a scope.
 */
export function plainGeneration(
  { tokenizer, transformer }: { tokenizer: Tokenizer; transformer: StarTransformer },
  { text, texts, away, settings, given }: PlainGeneration,
): { tokens: number[][]; fHat: Float32Array } {
  const { quantizer } = tokenizer
  const { patchNums } = tokenizer.config
  const codebook = quantizer.embedding.weight.floats()
  const [vocab, channels] = quantizer.embedding.weight.shape
  const length = patchNums.reduce((sum, p) => sum + p * p, 0)
  const random = seededNoise(settings.seed)
  const own = rowsOf(text, [...texts.map(({ row }) => row), away])
  const samples = texts.length + 1
  const inputs: number[] = []
  const tokens: number[][] = []
  let fHat: Tensor | null = null
  let begin = 0
  patchNums.forEach((p, k) => {
    // What is not drawn yet is behind the mask of attention.
    const known = [...inputs, ...Array((length - 1) * channels - inputs.length).fill(0)]
    const input = Tensor.from(Array(samples).fill(known).flat(), [samples, length - 1, channels])
    const logits = noGrad(() => transformer.forward({ input, text: own })).floats()
    const strength = patchNums.length > 1 ? (settings.cfg * k) / (patchNums.length - 1) : 0
    const uniforms = random.draw(p * p).floats()
    const at = (sample: number, position: number, v: number): number =>
      logits[(sample * length + begin + position) * vocab + v]
    const drawn = Array.from({ length: p * p }, (_, i) => {
      const guided = Array.from({ length: vocab }, (_, v) =>
        texts.reduce(
          (sum, { share }, j) => sum + share * ((1 + strength) * at(j, i, v) - strength * at(samples - 1, i, v)),
          0,
        ),
      )
      const most = Math.max(...guided)
      const weights = guided.map((x) => Math.exp(x - most))
      let rest = uniforms[i] * weights.reduce((a, b) => a + b, 0)
      return weights.findIndex((weight) => {
        rest -= weight
        return rest < 0
      })
    })
    const codes = drawn.flatMap((token, i) =>
      Array.from({ length: channels }, (_, c) => {
        const m = given?.masks[k][i] ?? 0
        const kept = m === 0 ? 0 : m * codebook[given!.tokens[k][i] * channels + c]
        return kept + (1 - m) * codebook[token * channels + c]
      }),
    )
    const step = quantizer.nextInput(k, fHat, Tensor.from(codes, [1, p * p, channels]))
    fHat = step.fHat
    inputs.push(...(step.next?.floats() ?? []))
    tokens.push(drawn)
    begin += p * p
  })
  return { tokens, fHat: (fHat as Tensor | null)!.floats() }
}
