/**
 * Drawing one picture with guidance that ends early and tokens that are left out, in plain numbers from the papers' descriptions, to
 * compare the library's with: no tensors but for the tokenizer's f̂, and no code of lib/models/star or lib/sampling but its noise.
 */
import type { StarConfig, StarTransformer, TextInput } from '../../lib/models/star/index.js'
import type { MultiScaleQuantizer } from '../../lib/models/tokenizer/index.js'
import { seededNoise } from '../../lib/sampling/index.js'
import { Tensor } from '../../lib/tensor/index.js'
import { plainArea, plainScales } from './plain-shapes.js'

export type Rows = number[][]
type Size = readonly [rows: number, cols: number]

export interface PlainSpeedOptions {
  text: TextInput
  /** Rows of the text: what is drawn, and what guidance leads away from. */
  prompt: number
  away: number
  settings: { cfg: number; seed: number }
  /** Of the latent; default: the square. */
  size?: Size
  unguidedFrom?: number
  temperature?: number
  prune?: { from: number; keep: readonly number[]; blocks?: readonly [number, number] }
}

/** What one text's half of the batch keeps from scale to scale. */
interface Half {
  states: Rows
  pooled: number[]
  /** Keys and values by block, each a row of all heads. */
  cache: { keys: Rows; values: Rows }[]
  /** Outputs at the scale that later ones are filled from, by block and branch. */
  outputs: Rows[][]
}

export const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, i) => sum + x * b[i], 0)
export const plus = (a: readonly number[], b: readonly number[]): number[] => a.map((x, i) => x + b[i])
export const sumRows = (a: Rows, b: Rows): Rows => a.map((row, i) => plus(row, b[i]))

export const normalised = (row: readonly number[]): number[] => {
  const mean = row.reduce((a, b) => a + b, 0) / row.length
  const variance = row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / row.length
  return row.map((x) => (x - mean) / Math.sqrt(variance + 1e-6))
}

export const softmax = (logits: readonly number[]): number[] => {
  const most = Math.max(...logits)
  const weights = logits.map((x) => Math.exp(x - most))
  const total = weights.reduce((a, b) => a + b, 0)
  return weights.map((x) => x / total)
}

export const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

/** Means over the cells of an adaptive pooling. */
function resized(rows: Rows, from: Size, to: Size): Rows {
  const width = rows[0].length
  const means = plainArea(rows.flat(), from, to)
  return Array.from({ length: to[0] * to[1] }, (_, i) => means.slice(i * width, (i + 1) * width))
}

export class PlainTransformer {
  readonly #weights: Map<string, { values: number[]; shape: readonly number[] }>
  readonly config: StarConfig

  constructor(model: StarTransformer) {
    this.config = model.config
    this.#weights = new Map(
      [...model.namedTensors()].map(({ name, tensor }) => [
        name,
        { values: [...tensor.floats()], shape: tensor.shape },
      ]),
    )
  }

  values(name: string): number[] {
    const found = this.#weights.get(name)
    if (!found) throw new Error(`no weight ${name}`)
    return found.values
  }

  /** Row `i` of a table. */
  row(name: string, i: number): number[] {
    const width = this.#weights.get(name)!.shape.at(-1)!
    return this.values(name).slice(i * width, (i + 1) * width)
  }

  linear(x: Rows, name: string, bias: number[] | null = this.values(`${name}.bias`)): Rows {
    const [out] = this.#weights.get(`${name}.weight`)!.shape
    const rows = Array.from({ length: out }, (_, i) => this.row(`${name}.weight`, i))
    return x.map((own) => rows.map((row, i) => dot(row, own) + (bias?.[i] ?? 0)))
  }

  /** Each head divided by its length and, with a scale, multiplied by exp(min(scale, ln 100)). */
  unit(row: number[], scaleName: string | null): number[] {
    const { heads, width } = this.config
    const size = width / heads
    return Array.from({ length: heads }, (_, h) => {
      const head = row.slice(h * size, (h + 1) * size)
      const factor = scaleName ? Math.exp(Math.min(this.values(scaleName)[h], Math.log(100))) : 1
      return head.map((x) => (x * factor) / Math.sqrt(dot(head, head)))
    }).flat()
  }

  rotated(row: number[], [rows, cols]: Size, position: number): number[] {
    const { heads, width, ropeTheta, ropeNorm } = this.config
    const size = width / heads
    const at = (i: number, count: number): number => (count === 1 ? 0 : (i / (count - 1)) * ropeNorm)
    const [x, y] = [at(position % cols, cols), at(Math.floor(position / cols), rows)]
    const angles = Array.from({ length: size / 2 }, (_, i) => {
      const pair = i % (size / 4)
      return (i < size / 4 ? x : y) * ropeTheta ** (-(4 * pair) / size)
    })
    return row.map((value, c) => {
      const angle = angles[Math.floor((c % size) / 2)]
      return c % 2 === 0
        ? value * Math.cos(angle) - row[c + 1] * Math.sin(angle)
        : row[c - 1] * Math.sin(angle) + value * Math.cos(angle)
    })
  }

  attend(q: Rows, keys: Rows, values: Rows): Rows {
    const { heads, width } = this.config
    const size = width / heads
    const head = (row: number[], h: number): number[] => row.slice(h * size, (h + 1) * size)
    return q.map((own) =>
      Array.from({ length: heads }, (_, h) => {
        const p = softmax(keys.map((key) => dot(head(own, h), head(key, h))))
        return Array.from({ length: size }, (_, c) => p.reduce((sum, w, j) => sum + w * values[j][h * size + c], 0))
      }).flat(),
    )
  }
}

/** One branch of a block for one half: of the tokens at `positions` of a scale. */
type PlainBranch = (x: Rows, positions: readonly number[]) => Rows

/** Tokens that are drawn at each scale, and f̂. */
export function plainFastGeneration(
  { transformer, quantizer }: { transformer: StarTransformer; quantizer: MultiScaleQuantizer },
  { text, prompt, away, settings, size, unguidedFrom, temperature = 1, prune }: PlainSpeedOptions,
): { tokens: number[][]; fHat: Float32Array } {
  if (text.mask) throw new Error('plainFastGeneration takes texts without a mask')
  const model = new PlainTransformer(transformer)
  const { patchNums, depth, width, crossAttention } = model.config
  const scales = patchNums.length
  const side = patchNums[scales - 1]
  const last = size ?? ([side, side] as const)
  const sizes = plainScales(patchNums, last)
  const codebook = quantizer.embedding.weight.floats()
  const [vocab, channels] = quantizer.embedding.weight.shape
  const [, textLength, textWidth] = text.states.shape
  const random = seededNoise(settings.seed)
  const halfOf = (row: number): Half => {
    const states = [...text.states.floats()].slice(row * textLength * textWidth, (row + 1) * textLength * textWidth)
    return {
      states: Array.from({ length: textLength }, (_, i) => states.slice(i * textWidth, (i + 1) * textWidth)),
      pooled: [...text.pooled.floats()].slice(row * textWidth, (row + 1) * textWidth),
      cache: Array.from({ length: depth }, () => ({ keys: [], values: [] })),
      outputs: Array.from({ length: depth }, () => []),
    }
  }
  const halves = [halfOf(prompt), halfOf(away)]
  const tokens: number[][] = []
  let fHat: Tensor | null = null
  let input: Rows = []

  /** Runs a branch of a block as pruning says, and notes what it gave. */
  function branchOf(half: Half, k: number, block: number, which: number, x: Rows, run: PlainBranch): Rows {
    const all = x.map((_, i) => i)
    const inRange = !prune?.blocks || (block >= prune.blocks[0] && block <= prune.blocks[1])
    const share = prune && inRange && k > prune.from ? (prune.keep[k - prune.from - 1] ?? 1) : 1
    if (share === 1) {
      const y = run(x, all)
      if (k === prune?.from) half.outputs[block][which] = y
      return y
    }
    const mean = Array.from({ length: width }, (_, c) => x.reduce((sum, row) => sum + row[c], 0) / x.length)
    const score = x.map((row) => row.reduce((sum, value, c) => sum + (value - mean[c]) ** 2, 0))
    const count = Math.max(1, Math.round(share * x.length))
    const chosen = [...all].sort((a, b) => score[b] - score[a]).slice(0, count)
    chosen.sort((a, b) => a - b)
    const part = run(
      chosen.map((i) => x[i]),
      chosen,
    )
    const y = resized(half.outputs[block][which], sizes[prune!.from], sizes[k])
    chosen.forEach((position, i) => {
      y[position] = part[i]
    })
    return y
  }

  sizes.forEach((own, k) => {
    const count = own[0] * own[1]
    const guided = settings.cfg > 0 && k < (unguidedFrom ?? scales)
    const active = guided ? halves : halves.slice(0, 1)
    let xs = active.map((half) => {
      const made =
        k === 0
          ? Array.from({ length: count }, (_, i) =>
              plus(model.linear([half.pooled], 'encoder_proj')[0], model.row('pos_start', i)),
            )
          : model.linear(input, 'word_embed')
      return made.map((row) => plus(row, model.row('lvl_embed.weight', k)))
    })
    for (let block = 0; block < depth; block++) {
      const name = `blocks.${block}`
      xs = active.map((half, j) => {
        const cache = half.cache[block]
        const attention: PlainBranch = (x, positions) => {
          const zeros = Array<number>(width).fill(0)
          const bias = [...model.values(`${name}.attn.q_bias`), ...zeros, ...model.values(`${name}.attn.v_bias`)]
          const qkv = model.linear(x.map(normalised), `${name}.attn.mat_qkv`, bias)
          const q = qkv.map((row, i) =>
            model.rotated(model.unit(row.slice(0, width), `${name}.attn.scale_mul_1H11`), own, positions[i]),
          )
          cache.keys.push(
            ...qkv.map((row, i) => model.rotated(model.unit(row.slice(width, 2 * width), null), own, positions[i])),
          )
          cache.values.push(...qkv.map((row) => row.slice(2 * width)))
          return model.linear(model.attend(q, cache.keys, cache.values), `${name}.attn.proj`)
        }
        return sumRows(xs[j], branchOf(half, k, block, 0, xs[j], attention))
      })
      const crossed = active.map((half, j) => {
        const cross: PlainBranch = (x) => {
          const q = model.linear(
            x.map(normalised),
            `${name}.cross_attn.mat_q`,
            model.values(`${name}.cross_attn.q_bias`),
          )
          const zeros = Array<number>(width).fill(0)
          const bias = [...zeros, ...model.values(`${name}.cross_attn.v_bias`)]
          const kv = model.linear(half.states, `${name}.cross_attn.mat_kv`, bias)
          return model.linear(
            model.attend(
              q.map((row) => model.unit(row, `${name}.cross_attn.scale_mul_1H11`)),
              kv.map((row) => model.unit(row.slice(0, width), null)),
              kv.map((row) => row.slice(width)),
            ),
            `${name}.cross_attn.proj`,
          )
        }
        if (crossAttention === 'first-sample' && j > 0) return null
        return branchOf(half, k, block, 1, xs[j], cross)
      })
      xs = xs.map((x, j) => sumRows(x, crossed[j] ?? crossed[0]!))
      xs = active.map((half, j) => {
        const feed: PlainBranch = (x) => {
          const hidden = model.linear(x.map(normalised), `${name}.ffn.fc1`)
          return model.linear(
            hidden.map((row) => row.map(gelu)),
            `${name}.ffn.fc2`,
          )
        }
        return sumRows(xs[j], branchOf(half, k, block, 2, xs[j], feed))
      })
    }
    const logits = xs.map((x) => model.linear(x.map(normalised), 'head_logits'))
    const strength = scales > 1 ? (settings.cfg * k) / (scales - 1) : 0
    const sharper = settings.cfg > 0 && !guided && k === scales - 1 ? 1 / temperature : 1
    const uniforms = random.draw(count).floats()
    const drawn = logits[0].map((row, i) => {
      const both = guided ? row.map((x, v) => (1 + strength) * x - strength * logits[1][i][v]) : row
      const p = softmax(both.map((x) => x * sharper))
      let rest = uniforms[i]
      return p.findIndex((weight) => {
        rest -= weight
        return rest < 0
      })
    })
    const codes = drawn.flatMap((token) => [...codebook.subarray(token * channels, (token + 1) * channels)])
    const step = quantizer.nextInput(k, fHat, Tensor.from(codes, [1, count, channels]), {
      rows: last[0],
      cols: last[1],
    })
    fHat = step.fHat
    const next = [...(step.next?.floats() ?? [])]
    input = Array.from({ length: next.length / channels }, (_, i) => next.slice(i * channels, (i + 1) * channels))
    tokens.push(drawn)
  })
  if (vocab !== model.config.vocabSize) throw new Error('the codebook is not the transformer’s')
  return { tokens, fHat: (fHat as Tensor | null)!.floats() }
}
