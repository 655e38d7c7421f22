// Weights, keys and values in 16 bits for inference.
import t from 'tap'
import { Star } from '../../../lib/index.js'
import { SamplerHead, ScaleDecoder, StarTransformer } from '../../../lib/models/star/index.js'
import { native } from '../../../lib/native/index.js'
import { buildIn, type HalfType, type Module } from '../../../lib/nn/index.js'
import { cast, noGrad, Random, scope, type Tensor } from '../../../lib/tensor/index.js'
import { relativeError } from '../../support/compare.js'
import { signed } from '../../support/gradcheck.js'
import { tinyModel, tinySizes, tinyText } from '../../support/tiny-star.js'

/** Of features after two blocks: a few roundings of half a unit, 2⁻¹¹ and 2⁻⁸. */
const tolerance = { f16: 4e-3, bf16: 3e-2 }

const weightsOf = (model: Module): Map<string, Tensor> =>
  new Map([...model.namedTensors()].map(({ name, tensor }) => [name, tensor]))

/** Features of all scales, and the logits made of them. */
function run(model: StarTransformer): Float32Array[] {
  return noGrad(() =>
    scope(() => {
      using decoder = new ScaleDecoder(model, { text: tinyText(2) })
      return tinySizes.patchNums.flatMap((side, k) => {
        const features = decoder.step(k, k === 0 ? null : signed([2, side * side, tinySizes.latentChannels], 60 + k))
        t.equal(features.dtype, model.dtype, 'features have the type of the weights')
        const logits = model.logits(features)
        t.equal(logits.dtype, 'f32', 'logits are f32')
        return [cast(features, 'f32').floats(), logits.floats()]
      })
    }),
  )
}

for (const dtype of ['f16', 'bf16'] satisfies HalfType[]) {
  t.test(`a transformer in ${dtype}`, async (t) => {
    for (const options of [{}, { sharedAdaLN: true, rope: false }, { crossAttention: 'first-sample' as const }]) {
      using full = tinyModel(options)
      using half = buildIn(dtype, () => new StarTransformer({ ...tinySizes, ...options }, { init: null }))
      half.load(weightsOf(full))
      for (const { name, tensor } of half.namedTensors()) {
        const single = name.startsWith('head_logits') || name.endsWith('scale_mul_1H11')
        t.equal(tensor.dtype, single ? 'f32' : dtype, `${name} is kept in ${single ? 'f32' : dtype}`)
      }
      const expected = run(full.setTrainable(false))
      run(half.setTrainable(false)).forEach((values, i) => {
        const error = relativeError(values, expected[i])
        t.ok(error <= tolerance[dtype], `${JSON.stringify(options)}, ${i}: relative error ${error.toExponential(1)}`)
      })
    }
  })

  t.test(`a sampler head in ${dtype}`, async (t) => {
    using full = new SamplerHead(tinySizes, { init: new Random(3) })
    using half = buildIn(dtype, () => new SamplerHead(tinySizes, { init: null }))
    half.load(weightsOf(full))
    const logits = (head: SamplerHead): Float32Array =>
      noGrad(() =>
        scope(() =>
          head
            .forward({
              rows: signed([1, 4, tinySizes.latentChannels], 1),
              features: cast(signed([1, 4, tinySizes.width], 2), head.dtype),
              pooled: signed([1, tinySizes.textWidth], 3),
              begin: 1,
              end: 2,
            })
            .floats(),
        ),
      )
    const error = relativeError(logits(half), logits(full))
    t.ok(error <= tolerance[dtype], `relative error ${error.toExponential(1)}`)
  })
}

t.test('a model loaded in 16 bits takes half the memory and draws', async (t) => {
  const bytes = async (dtype: 'f32' | HalfType): Promise<number> => {
    const before = native.memory('cpu').liveBytes
    await using star = await Star.load('emoji-64', { device: 'cpu', dtype })
    t.equal(star.info().dtype, dtype)
    const taken = native.memory('cpu').liveBytes - before
    const { images } = await star.generate('a red apple', { seed: 1 })
    t.ok(
      images[0].data.some((v) => v !== images[0].data[0]),
      `a picture is drawn in ${dtype}`,
    )
    return taken
  }
  const [full, half] = [await bytes('f32'), await bytes('bf16')]
  await bytes('f16')
  await using star = await Star.load('emoji-64', { device: 'cpu', dtype: 'f32' })
  const weights = 4 * star.info().transformer!.parameters
  t.ok(full - half > 0.4 * weights, `${full} bytes in f32, ${half} in bf16, of ${weights} for the transformer`)
  await t.rejects(Star.load('emoji-64', { device: 'cpu', dtype: 'f64' as never }), {
    code: 'ERR_CONFIG',
    message: /"dtype" is "f64"/,
  })
})
