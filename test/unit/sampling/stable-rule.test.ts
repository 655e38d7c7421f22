/**
 * Stable sampling against a plain program of its rule, in float64 and one token at a time, in every version: which logits a step
 * draws from, the filter, and what it fixes. Only the sampler head itself, which golden cases hold, is the same.
 */
import t from 'tap'
import { levels, SamplerHead } from '../../../lib/models/star/index.js'
import { guide } from '../../../lib/sampling/index.js'
import { samplingSettings } from '../../../lib/sampling/settings.js'
import { stableTokens } from '../../../lib/sampling/stable.js'
import { noGrad, Random, scope, Tensor } from '../../../lib/tensor/index.js'
import { signedValues } from '../../support/gradcheck.js'
import { tinyModel } from '../../support/tiny-star.js'

// More tokens than the 300 that version old keeps at most from scale index 9 on.
const vocab = 400
const patchNums = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
const transformer = tinyModel({ patchNums, vocabSize: vocab })
const { config } = transformer
const head = new SamplerHead(config, { init: new Random(8) })
let salt = 100
for (const { tensor, trainable } of head.namedTensors())
  if (trainable) tensor.write(signedValues(tensor.count, salt++).map((v) => 0.6 * v))
t.teardown(() => {
  transformer.dispose()
  head.dispose()
})

/** The tokens that stay, and their probabilities: the k most probable, then without the least probable that make up 1 − p. */
function filtered(logits: ArrayLike<number>, topK: number, topP: number): Map<number, number> {
  const softmax = (tokens: number[]): Map<number, number> => {
    const largest = Math.max(...tokens.map((v) => logits[v]))
    const weights = tokens.map((v) => Math.exp(logits[v] - largest))
    const total = weights.reduce((sum, w) => sum + w, 0)
    return new Map(tokens.map((v, i) => [v, weights[i] / total]))
  }
  const rising = Array.from({ length: vocab }, (_, v) => v).sort((a, b) => logits[a] - logits[b])
  const kept = topK > 0 ? rising.slice(-topK) : rising
  const probabilities = softmax(kept)
  let sum = 0
  const staying = kept.filter((v, i) => {
    sum += probabilities.get(v)!
    return topP === 0 || sum > 1 - topP || i === kept.length - 1
  })
  return softmax(staying)
}

interface Given {
  version: 'old' | 'new' | '1024'
  k: number
  topK: number
  topP: number
  cfg: number
  codebook: Float32Array
  ofTransformer: Float32Array
  /** Logits of the head, conditional then unconditional, from the rows of known tokens (0 where open). */
  ofHead: (rows: Float32Array) => Float32Array
  draws: Float32Array[]
  orders: Float32Array[]
}

function plainTokens({ version, k, topK, topP, cfg, codebook, ofTransformer, ofHead, draws, orders }: Given): number[] {
  const n = patchNums[k] ** 2
  const width = config.latentChannels
  const ids = new Array<number>(n).fill(0)
  const known = new Set<number>()
  const steps = version === '1024' && k >= 13 ? 15 : 8
  const filter = version === 'old' ? { topK: k < 9 ? topK : k < 12 ? 300 : 100, topP: 0.8 } : { topK, topP }
  // Steps fix shares in proportion to arccos(1 − s/(S − 1)), the last one what is left.
  const shares = Array.from({ length: steps }, (_, s) => Math.acos(1 - s / (steps - 1)))
  const total = shares.reduce((sum, share) => sum + share, 0)
  for (let step = 0; step < steps; step++) {
    const left = n - shares.slice(0, step).reduce((sum, share) => sum + Math.max(1, Math.round((share / total) * n)), 0)
    const fix = step === steps - 1 ? left : Math.min(left, Math.max(1, Math.round((shares[step] / total) * n)))
    const early = version === '1024' && k < 13 && step < 5
    let logits = ofTransformer
    if (!early) {
      const rows = new Float32Array(n * width)
      for (const i of known) rows.set(codebook.subarray(ids[i] * width, (ids[i] + 1) * width), i * width)
      const both = ofHead(rows)
      logits = Float32Array.from({ length: n * vocab }, (_, i) => (1 + cfg) * both[i] - cfg * both[n * vocab + i])
    }
    const drawn = Array.from({ length: n }, (_, i) => {
      const kept = filtered(logits.subarray(i * vocab, (i + 1) * vocab), filter.topK, filter.topP)
      let sum = 0
      const token = [...kept.keys()]
        .sort((a, b) => a - b)
        .find((v) => {
          sum += kept.get(v)!
          return draws[step][i] < sum
        })!
      return { token, probability: kept.get(token)! }
    })
    const take = (count: number, among: number[], score: (i: number) => number): void => {
      for (const i of among.sort((a, b) => score(b) - score(a)).slice(0, count)) {
        if (!known.has(i)) ids[i] = drawn[i].token
        known.add(i)
      }
    }
    const all = Array.from({ length: n }, (_, i) => i)
    const probability = (i: number): number => drawn[i].probability
    if (early) take(fix, all, probability)
    const open = all.filter((i) => !known.has(i))
    take(fix, open, step < 5 ? (i) => orders[step][i] : probability)
  }
  return ids
}

for (const [version, k] of [
  ['old', 8],
  ['old', 9],
  ['old', 12],
  ['new', 9],
  ['1024', 9],
  ['1024', 13],
] as const)
  t.test(`version ${version}, scale index ${k}`, async (t) => {
    scope(() => {
      const { begin, end } = levels(patchNums)[k]
      const n = end - begin
      const random = new Random(40 + k)
      const uniforms = (count: number): Float32Array => Float32Array.from({ length: count }, () => random.next())
      const spread = (count: number): Float32Array => uniforms(count).map((u) => 4 * u - 2)
      const codebook = spread(vocab * config.latentChannels)
      const features = Tensor.from(spread(2 * n * config.width), [2, n, config.width])
      const pooled = Tensor.from(spread(2 * config.textWidth), [2, config.textWidth])
      const ofTransformer = spread(n * vocab).map((v) => 2 * v)
      const draws = Array.from({ length: 15 }, () => uniforms(n))
      const orders = Array.from({ length: 15 }, () => uniforms(n))
      const settings = samplingSettings({ version, cfg: 2, topK: 350, topP: 0.9 })
      const used = { draws: 0, orders: 0 }
      const tokens = noGrad(() =>
        stableTokens({
          ...{ head, features, pooled, settings, k },
          codebook: Tensor.from(codebook, [vocab, config.latentChannels]),
          noise: {
            draw: () => Tensor.from(draws[used.draws++], [n]),
            order: () => Tensor.from(orders[used.orders++], [1, n]),
            gumbel: () => t.bailout('no Gumbel noise is asked for'),
          } as never,
          transformerLogits: () => Tensor.from(ofTransformer, [1, n, vocab]),
          combined: (logits, strength) => guide(logits, strength!),
        }),
      )
      const expected = plainTokens({
        ...{ version, k, topK: 350, topP: 0.9, cfg: 2, codebook, ofTransformer, draws, orders },
        ofHead: (rows) =>
          noGrad(() => {
            const twice = Float32Array.from({ length: 2 * rows.length }, (_, i) => rows[i % rows.length])
            const input = Tensor.from(twice, [2, n, config.latentChannels])
            return head.forward({ rows: input, features, pooled, begin: k, end: k + 1 }).floats()
          }),
      })
      t.same([...tokens.ints()], expected)
    })
  })
