import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { frechetDistance } from '../../../lib/metrics/frechet.js'
import { choleskyFactor, nuclearNorm, timesTransposed } from '../../../lib/metrics/matrices.js'
import { FeatureStatistics } from '../../../lib/metrics/statistics.js'
import { goldenFolder, ruleSigned } from '../../support/golden.js'

/** The arrays of doubles of a safetensors file. */
function doubles(file: string): Record<string, { shape: number[]; values: Float64Array }> {
  const bytes = readFileSync(file)
  const length = Number(bytes.readBigUInt64LE(0))
  const { __metadata__: _, ...entries } = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<
    string,
    { shape: number[]; data_offsets: [number, number] }
  >
  return Object.fromEntries(
    Object.entries(entries).map(([name, { shape, data_offsets }]) => {
      const [begin, end] = data_offsets.map((offset) => 8 + length + offset)
      return [name, { shape, values: new Float64Array(Uint8Array.from(bytes.subarray(begin, end)).buffer) }]
    }),
  )
}

function statisticsOf(values: Float32Array | Float64Array, size: number, piece = values.length): FeatureStatistics {
  const statistics = new FeatureStatistics(size)
  for (let begin = 0; begin < values.length; begin += piece) statistics.add(values.slice(begin, begin + piece))
  return statistics
}

const golden = doubles(join(goldenFolder, 'frechet.safetensors'))
const size = golden.a.shape[1]

t.test('the distance of two sample sets is that of SciPy', async (t) => {
  const [a, b] = [golden.a, golden.b].map(({ values }) => statisticsOf(values, size))
  const expected = golden.distance.values[0]
  const { distance, means, covariances } = frechetDistance(a, b)
  t.ok(Math.abs(distance / expected - 1) < 1e-9, `${distance}, expected ${expected}`)
  t.equal(means + covariances, distance)
  t.ok(Math.abs(frechetDistance(a, a).distance) < 1e-9 * expected, 'a set is at distance 0 from itself')
})

t.test('statistics are the same in pieces, merged and from a file', async (t) => {
  const { values } = golden.a
  const whole = statisticsOf(values, size)
  const half = Math.floor(golden.a.shape[0] / 3) * size
  const merged = statisticsOf(values.slice(0, half), size, size)
  merged.merge(statisticsOf(values.slice(half), size, 7 * size))
  merged.merge(new FeatureStatistics(size))
  const empty = new FeatureStatistics(size)
  empty.merge(whole)
  const file = join(t.testdir(), 'a.statistics')
  merged.write(file, { note: 1 })
  const { statistics: read, more } = FeatureStatistics.read(file)
  t.same(more, { note: 1 })
  t.equal(read.count, golden.a.shape[0])
  for (const other of [merged, empty, read])
    for (const of of ['mean', 'covariance'] as const) {
      const expected = whole[of]()
      t.ok(other[of]().every((value, i) => Math.abs(value - expected[i]) < 1e-12))
    }
  writeFileSync(file, readFileSync(file).subarray(0, -8))
  t.throws(() => FeatureStatistics.read(file), { code: 'ERR_FILE', message: /not all of them: remove it/ })
  writeFileSync(file, 'x')
  t.throws(() => FeatureStatistics.read(file), { code: 'ERR_FILE' })
  t.throws(() => whole.merge(new FeatureStatistics(3)), { code: 'ERR_SHAPE' })
  t.throws(() => whole.add(new Float64Array(5)), { code: 'ERR_SHAPE' })
  t.throws(() => frechetDistance(whole, new FeatureStatistics(3)), { code: 'ERR_SHAPE' })
  t.throws(() => statisticsOf(values.slice(0, size), size).covariance(), { code: 'ERR_ARGUMENT' })
})

t.test('a large mean costs no digits', async (t) => {
  const { values } = golden.a
  const near = statisticsOf(values, size).covariance()
  const far = statisticsOf(
    values.map((value) => value + 1e6),
    size,
  ).covariance()
  t.ok(far.every((value, i) => Math.abs(value - near[i]) < 1e-8))
})

t.test('factors have the rank of the matrix, and their products are it', async (t) => {
  const [n, d] = [5, 9]
  const rows = Float64Array.from(ruleSigned('factor', n * d))
  const columns = {
    rows: d,
    columns: n,
    values: Float64Array.from(rows, (_, i) => rows[(i % n) * d + Math.floor(i / n)]),
  }
  const product = timesTransposed(columns, columns)
  const factor = choleskyFactor(product.values, d)
  t.equal(factor.rows, n)
  for (let i = 0; i < d; i++)
    for (let j = 0; j < d; j++) {
      let sum = 0
      for (let k = 0; k < n; k++) sum += factor.values[k * d + i] * factor.values[k * d + j]
      t.ok(Math.abs(sum - product.values[i * d + j]) < 1e-13)
    }
  t.equal(choleskyFactor(new Float64Array(4), 2).rows, 0)
})

t.test('the sum of singular values', async (t) => {
  const of = (rows: number, columns: number, values: number[]): number =>
    nuclearNorm({ rows, columns, values: Float64Array.from(values) })
  t.ok(Math.abs(of(2, 2, [3, 0, 4, 5]) - (Math.sqrt(45) + Math.sqrt(5))) < 1e-14)
  t.ok(Math.abs(of(1, 3, [2, -3, 6]) - 7) < 1e-14)
  t.ok(Math.abs(of(3, 1, [2, -3, 6]) - 7) < 1e-14)
  t.equal(of(2, 3, [0, 0, 0, 0, 0, 0]), 0)
  t.equal(of(0, 0, []), 0)
  // Of a matrix with one singular value far below the others none of its digits is lost: a squared one would be.
  const small = 1e-9
  const norm = of(3, 3, [1, 0, 0, 0, small, 0, 0, 0, small])
  t.ok(Math.abs(norm - 1 - 2 * small) < 1e-15)
})
