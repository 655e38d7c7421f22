/**
 * Sampling of one picture of any shape in plain numbers: scales, positions and resampling by their formulas, tokens one by one. Of the
 * library it takes the layers, which know nothing of shapes.
 */
import { type StarTransformer, type TextInput, textKeysValues } from '../../lib/models/star/transformer.js'
import type { Tokenizer } from '../../lib/models/tokenizer/index.js'
import { seededNoise } from '../../lib/sampling/index.js'
import { add, concat, noGrad, Tensor } from '../../lib/tensor/index.js'

type Size = readonly [rows: number, cols: number]

/** A map of `channels` numbers a position, row by row. */
type PlainMap = readonly number[]

/** The first scale as it is, the others by the picture's ratio to the square. */
export function plainScales(patchNums: readonly number[], [rows, cols]: Size): Size[] {
  const side = Math.max(...patchNums)
  const of = (p: number, whole: number): number => Math.max(1, Math.round((p * whole) / side))
  return patchNums.map((p, k) => (k === 0 ? [p, p] : [of(p, rows), of(p, cols)]))
}

/** Weights of `from` positions for each of `to`: of the mean over the positions that a part touches. */
const areaWeights = (from: number, to: number): number[][] =>
  Array.from({ length: to }, (_, i) => {
    const [begin, end] = [Math.floor((i * from) / to), Math.ceil(((i + 1) * from) / to)]
    return Array.from({ length: from }, (_, j) => (j >= begin && j < end ? 1 / (end - begin) : 0))
  })

/** Weights of Keys' cubic with a = −0.75, positions beyond the edge standing for the one at the edge. */
const cubicWeights = (from: number, to: number): number[][] =>
  Array.from({ length: to }, (_, i) => {
    const centre = ((i + 0.5) * from) / to - 0.5
    const weights = Array<number>(from).fill(0)
    for (let j = Math.floor(centre) - 1; j <= Math.floor(centre) + 2; j++) {
      const x = Math.abs(centre - j)
      const a = -0.75
      const weight =
        x <= 1 ? (a + 2) * x ** 3 - (a + 3) * x ** 2 + 1 : x < 2 ? a * (x ** 3 - 5 * x ** 2 + 8 * x - 4) : 0
      weights[Math.min(from - 1, Math.max(0, j))] += weight
    }
    return weights
  })

function resampled(map: PlainMap, from: Size, to: Size, weights: typeof areaWeights): number[] {
  const channels = map.length / (from[0] * from[1])
  const [down, across] = [weights(from[0], to[0]), weights(from[1], to[1])]
  return down.flatMap((column) =>
    across.flatMap((row) =>
      Array.from({ length: channels }, (_, c) => {
        let sum = 0
        column.forEach((u, y) => {
          row.forEach((v, x) => {
            if (u !== 0 && v !== 0) sum += u * v * map[(y * from[1] + x) * channels + c]
          })
        })
        return sum
      }),
    ),
  )
}

export const plainArea = (map: PlainMap, from: Size, to: Size): number[] => resampled(map, from, to, areaWeights)
export const plainBicubic = (map: PlainMap, from: Size, to: Size): number[] => resampled(map, from, to, cubicWeights)

/** (cos, sin) of x = col/(w − 1)·norm, then of y = row/(h − 1)·norm, by each frequency. */
function rotations(scales: readonly Size[], headSize: number, theta: number, norm: number): Tensor {
  const share = (i: number, count: number): number => (count === 1 ? 0 : (i / (count - 1)) * norm)
  const frequencies = Array.from({ length: headSize / 4 }, (_, j) => theta ** ((-4 * j) / headSize))
  const values = scales.flatMap(([rows, cols]) =>
    Array.from({ length: rows * cols }, (_, i) => [share(i % cols, cols), share(Math.floor(i / cols), rows)])
      .flatMap(([x, y]) => [...frequencies.map((f) => x * f), ...frequencies.map((f) => y * f)])
      .flatMap((angle) => [Math.cos(angle), Math.sin(angle)]),
  )
  return Tensor.from(values, [values.length / headSize, headSize / 2, 2])
}

/** Logits of all tokens, those of later scales hidden from each. input (B, L − 1, Z) → (B, L, V) */
function plainLogits(model: StarTransformer, input: Tensor, text: TextInput, scales: readonly Size[]): Tensor {
  const { config } = model
  const ids = scales.flatMap(([rows, cols], k) => Array<number>(rows * cols).fill(k))
  const ends = scales.map((_, k) => scales.slice(0, k + 1).reduce((n, [rows, cols]) => n + rows * cols, 0))
  const i32 = (values: number[]): Tensor => Tensor.from(Int32Array.from(values), [values.length])
  const keyLimit = i32(ids.map((k) => ends[k]))
  const rope = config.rope ? rotations(scales, config.width / config.heads, config.ropeTheta, config.ropeNorm) : null
  const attended = model.attendedText(text)
  let x = concat([model.startTokens(text.pooled), model.wordEmbed.forward(input)], 1)
  if (model.levelEmbed) x = add(x, model.levelEmbed.forward(i32(ids)))
  if (model.positions) {
    const learnt = [...model.positions.floats()]
    let begin = 0
    const own = scales.flatMap((size, k) => {
      const p = config.patchNums[k]
      const square = learnt.slice(begin * config.width, (begin + p * p) * config.width)
      begin += p * p
      return plainBicubic(square, [p, p], size)
    })
    x = add(x, Tensor.from(own, [ids.length, config.width]))
  }
  for (const block of model.blocks) {
    const keys = attended && textKeysValues(block, attended)
    x = block.forward(x, { rope, keyLimit, text: keys, condition: null, dropPath: null })
  }
  return model.logits(x)
}

export interface PlainShape {
  /** The prompt and the empty one, of the same length. */
  text: TextInput
  /** Of the latent. */
  size: Size
  settings: { cfg: number; seed: number }
}

/** Tokens drawn at each scale, of all by the inverse of the cumulative sum, and f̂. To be called in a scope. */
export function plainShape(
  { tokenizer, transformer }: { tokenizer: Tokenizer; transformer: StarTransformer },
  { text, size, settings }: PlainShape,
): { tokens: number[][]; fHat: number[] } {
  const { quantizer } = tokenizer
  const scales = plainScales(tokenizer.config.patchNums, size)
  const codebook = quantizer.embedding.weight.floats()
  const [vocab, channels] = quantizer.embedding.weight.shape
  const length = scales.reduce((n, [rows, cols]) => n + rows * cols, 0)
  const random = seededNoise(settings.seed)
  const inputs: number[] = []
  const tokens: number[][] = []
  let fHat: number[] = Array(size[0] * size[1] * channels).fill(0)
  let begin = 0
  scales.forEach(([rows, cols], k) => {
    const count = rows * cols
    const known = [...inputs, ...Array((length - 1) * channels - inputs.length).fill(0)]
    const input = Tensor.from([...known, ...known], [2, length - 1, channels])
    const logits = noGrad(() => plainLogits(transformer, input, text, scales)).floats()
    const t = (settings.cfg * k) / (scales.length - 1)
    const uniforms = random.draw(count).floats()
    const at = (sample: number, i: number, v: number): number => logits[(sample * length + begin + i) * vocab + v]
    const drawn = Array.from({ length: count }, (_, i) => {
      const guided = Array.from({ length: vocab }, (_, v) => (1 + t) * at(0, i, v) - t * at(1, i, v))
      const most = Math.max(...guided)
      const weights = guided.map((x) => Math.exp(x - most))
      let rest = uniforms[i] * weights.reduce((a, b) => a + b, 0)
      return weights.findIndex((weight) => {
        rest -= weight
        return rest < 0
      })
    })
    const codes = drawn.flatMap((token) => [...codebook.subarray(token * channels, (token + 1) * channels)])
    const whole = plainBicubic(codes, [rows, cols], size)
    const step = noGrad(() => quantizer.phi.forward(Tensor.from(whole, [1, ...size, channels]), k)).floats()
    fHat = fHat.map((x, i) => x + step[i])
    if (k + 1 < scales.length) inputs.push(...plainArea(fHat, size, scales[k + 1]))
    tokens.push(drawn)
    begin += count
  })
  return { tokens, fHat }
}

/** Tokens of a latent (h, w, Z) at each scale: of what the scales before left over, the nearest code of each area mean. */
export function plainQuantize({ quantizer, config }: Tokenizer, latent: PlainMap, size: Size): number[][] {
  const codebook = quantizer.embedding.weight.floats()
  const [vocab, channels] = quantizer.embedding.weight.shape
  let rest = [...latent]
  return plainScales(config.patchNums, size).map((own, k) => {
    const means = plainArea(rest, size, own)
    const tokens = Array.from({ length: own[0] * own[1] }, (_, i) => {
      const distances = Array.from({ length: vocab }, (_, v) =>
        Array.from({ length: channels }, (_, c) => (means[i * channels + c] - codebook[v * channels + c]) ** 2).reduce(
          (a, b) => a + b,
        ),
      )
      return distances.indexOf(Math.min(...distances))
    })
    const codes = tokens.flatMap((token) => [...codebook.subarray(token * channels, (token + 1) * channels)])
    const whole = Tensor.from(plainBicubic(codes, own, size), [1, ...size, channels])
    const step = noGrad(() => quantizer.phi.forward(whole, k)).floats()
    rest = rest.map((x, i) => x - step[i])
    return tokens
  })
}
