/**
 * Runs ops forward and backward on sizes that several threads share and prints a JSON object: op → hash of all result bits.
 * The test of threads runs it in processes with different STAR_THREADS.
 */
import { createHash } from 'node:crypto'
import {
  add,
  attention,
  backward,
  concat,
  conv2d,
  crossEntropy,
  div,
  embedding,
  gelu,
  groupNorm,
  layerNorm,
  mean,
  mse,
  mul,
  mulSum,
  permute,
  Random,
  scope,
  silu,
  slice,
  softmax,
  splitHeads,
  sum,
  sumRows,
  Tensor,
} from '../../lib/tensor/index.js'

const random = new Random(3)
const learn = (shape: readonly number[]): Tensor => {
  const x = random.normal(shape)
  x.requiresGrad = true
  return x
}
const ids = Tensor.from(
  Array.from({ length: 5000 }, (_, i) => (i * 7919) % 300),
  [5000],
  { dtype: 'i32' },
)

const rope = random.normal([130, 16, 2])
const targets = Tensor.from(ids.ints().subarray(0, 300), [300])

const cases: Record<string, [readonly (readonly number[])[], (...inputs: Tensor[]) => Tensor]> = {
  addBias: [[[1501, 130], [130]], add],
  mulPerSample: [[[7, 100, 331], [7]], mul],
  divShortRows: [[[70001, 3], [3]], div],
  conv2d: [[[3, 40, 37, 32], [48, 32, 3, 3], [48]], (x, w, b) => conv2d(x, w, b, { padding: 1 })],
  silu: [[[300007]], silu],
  gelu: [[[300007]], gelu],
  sum: [[[1000003]], sum],
  mean: [[[1000, 999]], mean],
  sumRows: [[[3001, 257]], sumRows],
  mulSum: [[[300007], [300007]], mulSum],
  mse: [[[300007], [300007]], mse],
  permute: [[[3, 65, 67, 33]], (x) => permute(x, [0, 3, 1, 2])],
  slice: [[[300, 20, 33]], (x) => slice(x, 1, 3, 17)],
  concat: [
    [
      [300, 20, 33],
      [300, 7, 33],
    ],
    (a, b) => concat([a, b], 1),
  ],
  layerNorm: [[[2000, 131], [131], [131]], (x, scale, shift) => layerNorm(x, { scale, shift, affine: true })],
  modulation: [
    [
      [8, 250, 128],
      [250, 128],
      [250, 128],
    ],
    (x, scale, shift) => layerNorm(x, { scale, shift }),
  ],
  groupNorm: [[[3, 61, 67, 32], [32], [32]], (x, w, b) => groupNorm(x, w, b, { groups: 8, silu: true })],
  groupNormWide: [[[2, 15, 17, 640], [640], [640]], (x, w, b) => groupNorm(x, w, b)],
  softmax: [[[900, 333]], (x) => softmax(x)],
  embedding: [[[300, 97]], (table) => embedding(table, ids)],
  splitHeads: [
    [[4, 130, 3 * 3 * 32], [3]],
    (x, logScale) => concat(splitHeads(x, 3, [{ l2Norm: true, logScale, rope }, { l2Norm: true, rope }, {}]), 3),
  ],
  // One head alone is split over threads, many heads are not.
  attentionFewHeads: [
    [
      [1, 150, 1, 64],
      [1, 200, 1, 64],
      [1, 200, 1, 64],
    ],
    (q, k, v) => attention(q, k, v),
  ],
  attention: [
    [
      [3, 130, 5, 32],
      [3, 130, 5, 32],
      [3, 130, 5, 32],
    ],
    (q, k, v) => attention(q, k, v),
  ],
  crossEntropy: [[[300, 1001]], (x) => crossEntropy(x, targets, { labelSmoothing: 0.1 }).losses],
  random: [[[100003]], (x) => add(x, random.truncatedNormal([100003]))],
}

const hashes: Record<string, string> = {}
for (const [name, [shapes, fn]] of Object.entries(cases)) {
  const hash = createHash('sha256')
  const inputs = shapes.map(learn)
  scope(() => {
    const y = fn(...inputs)
    backward(y, random.normal(y.shape))
    for (const t of [y, ...inputs.map((x) => x.grad!)]) hash.update(new Uint8Array(t.floats().buffer))
  })
  for (const x of inputs) x.dispose()
  hashes[name] = hash.digest('hex')
}
process.stdout.write(JSON.stringify(hashes))
