import t from 'tap'
import { add, backward, mulSum, scope, Tensor } from '../../lib/tensor/index.js'
import { Golden, relativeError, ruleSigned, testDevice } from '../support/golden.js'
import { goldenTokenizer, toNchw, toNhwc } from '../support/tokenizer.js'

const golden = new Golden('quantizer_train')
const { model } = goldenTokenizer()
t.teardown(() => model.dispose())

t.test('loss, straight-through output and gradients', async (t) => {
  scope(() => {
    const feature = toNhwc(golden.tensor('feature'))
    feature.requiresGrad = true
    const { fHat, loss } = model.quantizer.train(feature)
    t.ok(relativeError(loss.floats(), golden.values('loss')) < 2e-5, `loss ${loss.item()}`)
    t.ok(relativeError(toNchw(fHat).floats(), golden.values('f_hat')) < 2e-5, 'f̂')

    const shape = golden.shape('f_hat')
    const g = Tensor.from(ruleSigned(`${golden.metadata.prefix}grad_f_hat`, fHat.count), shape, { device: testDevice })
    backward(add(loss, mulSum(fHat, toNhwc(g))))
    t.ok(relativeError(toNchw(feature.grad!).floats(), golden.values('grad.feature')) < 1e-4, 'gradient of the latent')
    const named = new Map([...model.quantizer.namedTensors()].map(({ name, tensor }) => [name, tensor]))
    const checked = golden.names.filter((name) => name.startsWith('grad.') && name !== 'grad.feature')
    for (const name of checked) {
      const grad = named.get(name.slice('grad.'.length))?.grad
      t.ok(grad && relativeError(grad.floats(), golden.values(name)) < 1e-4, name)
    }
    t.equal(checked.length, model.quantizer.parameters().length)
    model.zeroGrad()
  })
})
