import t from 'tap'
import { clamp, noGrad, reshape, scope } from '../../lib/tensor/index.js'
import { type RuleParameter, relativeError, ruleParameter } from '../support/golden.js'
import { goldenTokenizer, toNchw, toNhwc } from '../support/tokenizer.js'

const { golden, model, parameters } = goldenTokenizer()
t.teardown(() => model.dispose())
const { quantizer } = model
const image = golden.json<RuleParameter & { name: string }>('image')

t.test('tensors have the released names and shapes', async (t) => {
  const own = Object.fromEntries([...model.namedTensors()].map(({ name, tensor }) => [name, [...tensor.shape]]))
  t.same(own, Object.fromEntries(Object.entries(parameters).map(([name, { shape }]) => [name, shape])))
  const buffers = [...model.namedTensors()].filter((tensor) => !tensor.trainable).map(({ name }) => name)
  t.strictSame(buffers, ['quantize.ema_vocab_hit_SV'])
})

t.test('encoder', async (t) => {
  const feature = scope(() => noGrad(() => toNchw(model.encode(toNhwc(ruleParameter(image.name, image)))).floats()))
  t.ok(relativeError(feature, golden.values('feature')) < 2e-5)
})

t.test('tokens, f̂ after each scale and the input of the transformer', async (t) => {
  scope(() => {
    const feature = toNhwc(golden.tensor('feature'))
    const { indices, fHat } = quantizer.quantize(feature)
    const again = quantizer.fHatOf(indices)
    t.equal(indices.length, quantizer.scales)
    for (let k = 0; k < quantizer.scales; k++) {
      t.strictSame(indices[k].shape, golden.shape(`indices.${k}`))
      t.strictSame(indices[k].ints(), golden.values(`indices.${k}`), `tokens of scale ${k}`)
      const expected = golden.values(`f_hat.${k}`)
      t.ok(relativeError(toNchw(fHat[k]).floats(), expected) < 2e-5, `f̂ after scale ${k}`)
      t.ok(relativeError(toNchw(again[k]).floats(), expected) < 2e-5, `f̂ from the tokens up to scale ${k}`)
    }
    const expected = golden.values('transformer_input')
    for (const source of [feature, indices, indices.slice(0, -1)]) {
      const input = quantizer.transformerInput(source)
      t.strictSame(input.shape, golden.shape('transformer_input'))
      t.ok(relativeError(input.floats(), expected) < 2e-5)
    }
  })
})

t.test('scale by scale, as in sampling', async (t) => {
  scope(() => {
    const parts: number[] = []
    const batch = golden.shape('feature')[0]
    const z = golden.shape('transformer_input')[2]
    const inputs = golden.tensor('transformer_input').floats()
    let fHat = null
    let start = 0
    for (let k = 0; k < quantizer.scales; k++) {
      const p = model.config.patchNums[k]
      const codes = reshape(quantizer.embedIndices(golden.tensor(`indices.${k}`)), [batch, p, p, z])
      const step = quantizer.nextInput(k, fHat, codes)
      fHat = step.fHat
      t.ok(relativeError(toNchw(fHat).floats(), golden.values(`f_hat.${k}`)) < 2e-5)
      if (!step.next) {
        parts.push(k)
        continue
      }
      const length = inputs.length / batch / z
      const tokens = step.next.shape[1]
      const expected = Array.from({ length: batch }, (_, b) => [
        ...inputs.subarray((b * length + start) * z, (b * length + start + tokens) * z),
      ]).flat()
      t.ok(relativeError(step.next.floats(), expected) < 2e-5)
      start += tokens
    }
    t.strictSame(parts, [quantizer.scales - 1], 'only the last scale has no next')
  })
})

t.test('decoder', async (t) => {
  scope(() => {
    const fHat = toNhwc(golden.tensor(`f_hat.${quantizer.scales - 1}`))
    const decoded = noGrad(() => model.decode(fHat))
    const expected = golden.values('image_out')
    t.ok(relativeError(toNchw(decoded).floats(), expected) < 2e-3)
    t.ok(decoded.floats().every((v) => v >= -1 && v <= 1))
    const raw = noGrad(() => clamp(model.decodeRaw(fHat), -1, 1))
    t.strictSame(raw.floats(), decoded.floats())
  })
})

t.test('whole way from image to tokens and to image', async (t) => {
  scope(() => {
    const images = toNhwc(ruleParameter(image.name, image))
    model.tokenize(images).forEach((ids, k) => {
      t.strictSame(ids.ints(), golden.values(`indices.${k}`))
    })
    t.ok(relativeError(toNchw(model.reconstruct(images)).floats(), golden.values('image_out')) < 2e-3)
  })
})
