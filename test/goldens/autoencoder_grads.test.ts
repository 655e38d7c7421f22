import t from 'tap'
import { add, backward, mulSum, scope, Tensor } from '../../lib/tensor/index.js'
import { Golden, type RuleParameter, relativeError, ruleParameter, ruleSigned, testDevice } from '../support/golden.js'
import { goldenTokenizer, toNchw, toNhwc } from '../support/tokenizer.js'

const golden = new Golden('autoencoder_grads')
const { golden: tokenizer, model } = goldenTokenizer()
t.teardown(() => model.dispose())

/** Weights of the outputs in the objective Σ feature·w₁ + Σ image·w₂, image before clamping. */
const weights = (name: string, shape: number[]): Tensor => {
  const count = shape.reduce((n, d) => n * d, 1)
  return toNhwc(Tensor.from(ruleSigned(golden.metadata.prefix + name, count), shape, { device: testDevice }))
}

t.test('gradients of the encoder, the decoder and f̂', async (t) => {
  scope(() => {
    const image = tokenizer.json<RuleParameter & { name: string }>('image')
    const fHat = toNhwc(tokenizer.tensor(`f_hat.${model.quantizer.scales - 1}`))
    fHat.requiresGrad = true
    const feature = model.encode(toNhwc(ruleParameter(image.name, image)))
    const decoded = model.decodeRaw(fHat)
    const encoderPart = mulSum(feature, weights('grad_feature', tokenizer.shape('feature')))
    const decoderPart = mulSum(decoded, weights('grad_image', tokenizer.shape('image_out')))
    backward(add(encoderPart, decoderPart))

    t.ok(relativeError(toNchw(fHat.grad!).floats(), golden.values('grad.f_hat')) < 1e-4, 'f̂')
    let checked = 0
    let zeros = 0
    for (const { name, tensor } of model.namedTensors()) {
      if (name.startsWith('quantize.')) continue
      const grad = tensor.grad!.floats()
      const norm = Math.sqrt(grad.reduce((sum, g) => sum + g * g, 0))
      const expectedNorm = golden.values(`norm.${name}`)[0]
      const head = golden.values(`head.${name}`)
      // A bias whose channel is normalised by itself right after has the gradient 0: both sides hold rounding errors. The
      // golden comparison cannot hold there; it stays, shown as failing, beside a check that the gradient is zero.
      const layer = name.endsWith('.bias') ? golden.values(`norm.${name.replace(/bias$/, 'weight')}`)[0] : 0
      const isZero = expectedNorm < 1e-6 * layer
      const todo = isZero && 'the true gradient is 0 and the golden file holds rounding errors'
      t.ok(Math.abs(norm - expectedNorm) < 1e-4 * expectedNorm, `norm of ${name}`, { todo })
      t.ok(relativeError(grad.subarray(0, head.length), head) < 1e-4, `first values of ${name}`, { todo })
      if (isZero) {
        t.ok(norm < 1e-6 * layer, `${name} is zero up to rounding`)
        zeros++
      }
      checked++
    }
    t.equal(checked, golden.names.filter((name) => name.startsWith('norm.')).length)
    t.ok(zeros < checked / 10)
    model.zeroGrad()
  })
})
