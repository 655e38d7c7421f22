/**
 * Reading a picture with prompts and drawing it anew from another one, in plain numbers from the papers' formulas, to compare the
 * library's with: no tensors but for the tokenizer, and no code of lib/models/star, lib/sampling or lib/editing but its noise.
 */
import type { StarTransformer, TextInput } from '../../lib/models/star/index.js'
import type { MultiScaleQuantizer } from '../../lib/models/tokenizer/index.js'
import { seededNoise } from '../../lib/sampling/index.js'
import { Tensor } from '../../lib/tensor/index.js'
import { dot, gelu, normalised, PlainTransformer, plus, type Rows, softmax, sumRows } from './plain-speed.js'

interface Models {
  transformer: StarTransformer
  quantizer: MultiScaleQuantizer
}

/** A prompt that reads a picture scale by scale. */
class PlainReader {
  readonly #model: PlainTransformer
  readonly #states: Rows
  readonly #pooled: number[]
  readonly #cache: { keys: Rows; values: Rows }[]

  constructor(transformer: StarTransformer, text: TextInput, row: number) {
    if (text.mask) throw new Error('PlainReader takes texts without a mask')
    this.#model = new PlainTransformer(transformer)
    const [, length, width] = text.states.shape
    const states = [...text.states.floats()]
    this.#states = Array.from({ length }, (_, i) =>
      states.slice((row * length + i) * width, (row * length + i + 1) * width),
    )
    this.#pooled = [...text.pooled.floats()].slice(row * width, (row + 1) * width)
    this.#cache = Array.from({ length: transformer.config.depth }, () => ({ keys: [], values: [] }))
  }

  /** Logits of a scale, and of each block the probabilities with which its tokens attend to the text, the mean over heads. */
  step(k: number, input: Rows | null): { logits: Rows; attention: Rows[] } {
    const model = this.#model
    const { patchNums, width, heads, depth } = model.config
    const side = patchNums[k]
    const tokens = input
      ? model.linear(input, 'word_embed')
      : Array.from({ length: side * side }, (_, i) =>
          plus(model.linear([this.#pooled], 'encoder_proj')[0], model.row('pos_start', i)),
        )
    let x = tokens.map((row) => plus(row, model.row('lvl_embed.weight', k)))
    const attention: Rows[] = []
    const size = width / heads
    for (let block = 0; block < depth; block++) {
      const name = `blocks.${block}`
      const cache = this.#cache[block]
      const zeros = Array<number>(width).fill(0)
      const own = [...model.values(`${name}.attn.q_bias`), ...zeros, ...model.values(`${name}.attn.v_bias`)]
      const qkv = model.linear(x.map(normalised), `${name}.attn.mat_qkv`, own)
      const turned = (row: number[], i: number, scale: string | null): number[] =>
        model.rotated(model.unit(row, scale), [side, side], i)
      cache.keys.push(...qkv.map((row, i) => turned(row.slice(width, 2 * width), i, null)))
      cache.values.push(...qkv.map((row) => row.slice(2 * width)))
      const q = qkv.map((row, i) => turned(row.slice(0, width), i, `${name}.attn.scale_mul_1H11`))
      x = sumRows(x, model.linear(model.attend(q, cache.keys, cache.values), `${name}.attn.proj`))
      const asked = model
        .linear(x.map(normalised), `${name}.cross_attn.mat_q`, model.values(`${name}.cross_attn.q_bias`))
        .map((row) => model.unit(row, `${name}.cross_attn.scale_mul_1H11`))
      const told = model.linear(this.#states, `${name}.cross_attn.mat_kv`, [
        ...zeros,
        ...model.values(`${name}.cross_attn.v_bias`),
      ])
      const keys = told.map((row) => model.unit(row.slice(0, width), null))
      attention.push(
        asked.map((row) => {
          const byHead = Array.from({ length: heads }, (_, h) => {
            const part = (y: number[]): number[] => y.slice(h * size, (h + 1) * size)
            return softmax(keys.map((key) => dot(part(row), part(key))))
          })
          return keys.map((_, t) => byHead.reduce((sum, p) => sum + p[t], 0) / heads)
        }),
      )
      const read = model.attend(
        asked,
        keys,
        told.map((row) => row.slice(width)),
      )
      x = sumRows(x, model.linear(read, `${name}.cross_attn.proj`))
      const hidden = model.linear(x.map(normalised), `${name}.ffn.fc1`).map((row) => row.map(gelu))
      x = sumRows(x, model.linear(hidden, `${name}.ffn.fc2`))
    }
    return { logits: model.linear(x.map(normalised), 'head_logits'), attention }
  }
}

const rowsOf = (tensor: Tensor | null, width: number): Rows | null => {
  if (!tensor) return null
  const values = [...tensor.floats()]
  return Array.from({ length: values.length / width }, (_, i) => values.slice(i * width, (i + 1) * width))
}

/** The codes of drawn or given tokens added to f̂, and the next scale's input. */
function added({ quantizer }: Models, k: number, fHat: Tensor | null, tokens: readonly number[]) {
  const [, channels] = quantizer.embedding.weight.shape
  const codebook = quantizer.embedding.weight.floats()
  const codes = tokens.flatMap((token) => [...codebook.subarray(token * channels, (token + 1) * channels)])
  const step = quantizer.nextInput(k, fHat, Tensor.from(codes, [1, tokens.length, channels]))
  return { fHat: step.fHat, input: rowsOf(step.next, channels) }
}

/**
 * The mean over some blocks and scales of the attention to each text token, at the last scale's positions, p×p: a position of a scale
 * whose side divides p counts for all those in it. (p², T)
 */
export function plainAttention(
  models: Models,
  {
    text,
    row,
    tokens,
    scales,
    blocks,
  }: {
    text: TextInput
    row: number
    tokens: readonly (readonly number[])[]
    scales: readonly number[]
    blocks: readonly number[]
  },
): Rows {
  const { patchNums } = models.transformer.config
  const last = patchNums[patchNums.length - 1]
  const reader = new PlainReader(models.transformer, text, row)
  const sum = Array.from({ length: last * last }, () => Array<number>(text.states.dim(1)).fill(0))
  let [fHat, input]: [Tensor | null, Rows | null] = [null, null]
  patchNums.forEach((side, k) => {
    const { attention } = reader.step(k, input)
    for (const block of scales.includes(k) ? blocks : [])
      sum.forEach((own, i) => {
        const cell = last / side
        const from = Math.floor(Math.floor(i / last) / cell) * side + Math.floor((i % last) / cell)
        attention[block][from].forEach((p, t) => {
          own[t] += p / (scales.length * blocks.length)
        })
      })
    const step = added(models, k, fHat, tokens[k])
    fHat = step.fHat
    input = step.input
  })
  return sum
}

/** One picture led to given tokens: l + s·(onehot − p) on the prompt's logits before guidance, s by scale and position. */
export function plainNudged(
  models: Models,
  {
    text,
    prompt,
    away,
    settings,
    tokens,
    kept,
    strengths,
  }: {
    text: TextInput
    prompt: number
    away: number
    settings: { cfg: number; seed: number }
    tokens: readonly (readonly number[])[]
    /** So many scales are the given tokens. */
    kept: number
    strengths: readonly (readonly number[])[]
  },
): { tokens: number[][]; fHat: Float32Array } {
  const { patchNums } = models.transformer.config
  const readers = [prompt, away].map((row) => new PlainReader(models.transformer, text, row))
  const random = seededNoise(settings.seed)
  const all: number[][] = []
  let [fHat, input]: [Tensor | null, Rows | null] = [null, null]
  patchNums.forEach((side, k) => {
    const [own, other] = readers.map((reader) => reader.step(k, input).logits)
    const t = (settings.cfg * k) / (patchNums.length - 1)
    const uniforms = random.draw(side * side).floats()
    const drawn = own.map((row, i) => {
      const p = softmax(row)
      const led = row.map((x, v) => x + strengths[k][i] * ((v === tokens[k][i] ? 1 : 0) - p[v]))
      const guided = softmax(led.map((x, v) => (1 + t) * x - t * other[i][v]))
      let rest = uniforms[i]
      return guided.findIndex((weight) => {
        rest -= weight
        return rest < 0
      })
    })
    all.push(drawn)
    const step = added(models, k, fHat, k < kept ? tokens[k] : drawn)
    fHat = step.fHat
    input = step.input
  })
  return { tokens: all, fHat: (fHat as Tensor | null)!.floats() }
}
