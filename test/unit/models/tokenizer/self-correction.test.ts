import t from 'tap'
import { SelfCorrection, Tokenizer } from '../../../../lib/models/tokenizer/index.js'
import { areaPool, nearestRow, Random, reshape, scope, sub, Tensor } from '../../../../lib/tensor/index.js'

const config = {
  baseChannels: 32,
  channelMultipliers: [1, 1],
  residualBlocks: 1,
  vocabSize: 24,
  latentChannels: 5,
  patchNums: [1, 2, 4],
}

const ints = (maps: readonly Tensor[]): number[][] => maps.map((map) => [...map.ints()])
const sources = (count: number): Random[] => Array.from({ length: count }, (_, b) => new Random(100 + b))

t.test('self-correction', async (t) => {
  using tokenizer = new Tokenizer(config, { init: new Random(3) })
  const { quantizer } = tokenizer
  const correction = new SelfCorrection(quantizer)

  await t.test('changes nothing at rate 0', async (t) => {
    scope(() => {
      const latent = new Random(1).normal([2, 4, 4, 5]) // (B, h, w, Z)
      const plain = quantizer.quantize(latent)
      const same = correction.quantize(latent, [0, 0], sources(2))
      t.strictSame(ints(same.indices), ints(plain.indices))
      t.strictSame(same.fHat[2].floats(), plain.fHat[2].floats())
      t.strictSame(quantizer.transformerInput(plain).floats(), quantizer.transformerInput(plain.indices).floats())
    })
  })

  await t.test('later scales code what the changed tokens left over', async (t) => {
    scope(() => {
      const latent = new Random(1).normal([2, 4, 4, 5])
      const plain = quantizer.quantize(latent)
      const { indices, fHat } = correction.quantize(latent, [1, 0], sources(2))
      for (const k of [0, 1]) {
        const p = config.patchNums[k + 1]
        const rest = sub(latent, fHat[k]) // (B, h, w, Z)
        const rows = reshape(p === 4 ? rest : areaPool(rest, p, p), [-1, 5])
        t.strictSame([...indices[k + 1].ints()], [...nearestRow(rows, quantizer.embedding.weight).ids.ints()])
      }
      t.strictSame([...indices[0].ints()], [...plain.indices[0].ints()], 'the first target has nothing before it')
      t.notSame([...fHat[0].floats().subarray(0, 80)], [...plain.fHat[0].floats().subarray(0, 80)])
      t.strictSame(
        [...fHat[2].floats().subarray(80)],
        [...plain.fHat[2].floats().subarray(80)],
        'a sample of rate 0 beside it stays as it was',
      )
    })
  })

  await t.test('a token becomes one of the eight codes nearest to it', async (t) => {
    scope(() => {
      const table = quantizer.embedding.weight.floats()
      const row = (v: number): Float32Array => table.subarray(v * 5, v * 5 + 5)
      const distance = (v: number, w: number): number => row(v).reduce((sum, x, c) => sum + (x - row(w)[c]) ** 2, 0)
      // One token fills the first scale, so that f̂ after it tells which code was fed.
      const sums = Array.from({ length: 24 }, (_, v) =>
        quantizer
          .nextInput(0, null, Tensor.from(row(v), [1, 1, 5]))
          .fHat.floats()
          .join(),
      )
      const latent = new Random(7).normal([1, 4, 4, 5])
      const [token] = quantizer.quantize(latent).indices[0].ints()
      const seen = new Set<number>()
      for (let seed = 0; seed < 60; seed++)
        seen.add(
          sums.indexOf(
            correction
              .quantize(latent, [1], [new Random(seed)])
              .fHat[0].floats()
              .join(),
          ),
        )
      const nearest = Array.from({ length: 24 }, (_, v) => v)
        .filter((v) => v !== token)
        .sort((v, w) => distance(token, v) - distance(token, w))
      t.strictSame([...seen].sort(), nearest.slice(0, 8).sort())
    })
  })
})
