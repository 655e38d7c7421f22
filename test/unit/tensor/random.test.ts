import t from 'tap'
import { philox, Random, scope, type Tensor } from '../../../lib/tensor/index.js'

t.test('philox gives the words of the published test vectors', async (t) => {
  // Known answers of Random123 for Philox4x32-10.
  t.strictSame(philox(0, 0, 0), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8])
})

t.test('native tensors and the host draw the same words', async (t) => {
  for (const seed of [0, 1, 42, -7, 0xffffffff, 2 ** 40 + 3, 0xfedcba9876543210n])
    scope(() => {
      const bits = BigInt.asUintN(64, BigInt(seed))
      for (const offset of [0, 5, 2 ** 32 - 1, 2 ** 32 + 9, 2 ** 52]) {
        const random = Random.restore({ seed: String(bits), offset: String(offset) })
        const values = random.uniform([3, 7]).floats()
        const expected = Float32Array.from({ length: 21 }, (_, i) => {
          const words = philox(Number(bits & 0xffffffffn), Number(bits >> 32n), offset + Math.floor(i / 4))
          return (words[i % 4] >>> 8) / 16777216
        })
        t.strictSame(values, expected, `seed ${seed} offset ${offset}`)
        t.equal(random.state().offset, String(offset + 6))
      }
    })
})

/** Mean, standard deviation, smallest and largest. */
function moments(x: Tensor): { mean: number; std: number; low: number; high: number } {
  const values = x.floats()
  const mean = values.reduce((s, v) => s + v, 0) / values.length
  const std = Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / values.length)
  return { mean, std, low: values.reduce((a, b) => Math.min(a, b)), high: values.reduce((a, b) => Math.max(a, b)) }
}

/** Largest distance between the empirical and the given distribution function (Kolmogorov and Smirnov). */
function distance(x: Tensor, distribution: (v: number) => number): number {
  const values = x.floats().sort()
  return values.reduce((worst, v, i) => Math.max(worst, Math.abs(distribution(v) - (i + 0.5) / values.length)), 0)
}

/** Normal distribution function by Simpson's rule from 0. */
function normalDistribution(z: number): number {
  const steps = 200
  const h = z / steps
  let total = 0
  for (let i = 0; i <= steps; i++) total += Math.exp(-0.5 * (i * h) ** 2) * (i === 0 || i === steps ? 1 : i % 2 ? 4 : 2)
  return 0.5 + (total * h) / 3 / Math.sqrt(2 * Math.PI)
}

t.test('distributions', async (t) => {
  scope(() => {
    const n = 40000
    // At n = 40000 a distance of 0.01 happens by chance once in 1500 draws; the seed is fixed.
    const random = new Random(1)
    const uniform = random.uniform([n], { lo: -2, hi: 6 })
    t.ok(distance(uniform, (v) => (v + 2) / 8) < 0.01)
    t.ok(moments(uniform).low >= -2 && moments(uniform).high < 6)
    t.ok(distance(random.normal([n]), normalDistribution) < 0.01)
    const shifted = moments(random.normal([n], { mean: 3, std: 0.5 }))
    t.ok(Math.abs(shifted.mean - 3) < 0.01 && Math.abs(shifted.std - 0.5) < 0.01)
    const inside = 2 * normalDistribution(2) - 1
    const truncated = random.truncatedNormal([n])
    t.ok(distance(truncated, (v) => (normalDistribution(v) - normalDistribution(-2)) / inside) < 0.01)
    const { low, high } = moments(random.truncatedNormal([n], { mean: 1, std: 0.1 }))
    t.ok(low >= 0.8 - 1e-6 && high <= 1.2 + 1e-6 && low < 0.801 && high > 1.199)
    t.ok(distance(random.gumbel([n]), (v) => Math.exp(-Math.exp(-v))) < 0.01)
  })
})

t.test('truncatedNormal inverts the distribution function exactly', async (t) => {
  scope(() => {
    const random = new Random(9)
    const z = random.truncatedNormal([4000]).floats()
    const inside = 2 * normalDistribution(2) - 1
    const worst = z.reduce((worst, v, i) => {
      const u = (philox(9, 0, Math.floor(i / 4))[i % 4] + 0.5) / 4294967296
      return Math.max(worst, Math.abs(normalDistribution(v) - (normalDistribution(-2) + inside * u)))
    }, 0)
    t.ok(worst < 5e-8)
  })
})

t.test('host numbers, shuffles and the state', async (t) => {
  const random = new Random(5)
  const counts = new Array(10).fill(0)
  for (let i = 0; i < 10000; i++) counts[random.integer(10)]++
  t.ok(counts.every((c) => Math.abs(c - 1000) < 150))
  const order = random.shuffle(Array.from({ length: 50 }, (_, i) => i))
  t.strictSame(
    [...order].sort((a, b) => a - b),
    Array.from({ length: 50 }, (_, i) => i),
  )
  t.not(order.join(), [...order].sort((a, b) => a - b).join())
  const again = Random.restore(random.state())
  t.equal(again.next(), random.next())
  scope(() => t.strictSame(again.normal([5]).floats(), random.normal([5]).floats()))
  t.strictSame(again.state(), random.state())
  t.throws(() => new Random(1.5), { code: 'ERR_ARGUMENT' })
  t.throws(() => random.integer(0), { code: 'ERR_ARGUMENT' })
  t.throws(() => Random.restore({ seed: 'x', offset: '0' }), { code: 'ERR_ARGUMENT' })
  t.throws(() => random.uniform([2], { device: 'abacus' }), { code: 'ERR_DEVICE' })
})
