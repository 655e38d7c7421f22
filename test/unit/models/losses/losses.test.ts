import t, { type Test } from 'tap'
import { EfficientNetLite0 } from '../../../../lib/models/backbone/index.js'
import {
  type AugmentDraw,
  augment,
  discriminatorLoss,
  drawAugmentations,
  generatorLoss,
  PatchDiscriminator,
  perceptualTerms,
} from '../../../../lib/models/losses/index.js'
import { native } from '../../../../lib/native/index.js'
import { backward, noGrad, Random, scope, Tensor, valueAndGrad } from '../../../../lib/tensor/index.js'
import { relativeError } from '../../../support/compare.js'
import { gradcheck, signed } from '../../../support/gradcheck.js'

const close = (t: Test, given: number, expected: number, tolerance: number, what: string) =>
  t.ok(Math.abs(given - expected) <= tolerance * Math.max(1, Math.abs(expected)), `${what}: ${given}, ${expected}`)

t.test('hinge and non-saturating losses by their formulas', async (t) => {
  const real = [-3, -0.5, 0.25, 1, 2.5, 90]
  const fake = [-90, -2, -1, 0.5, 0.75, 4]
  const mean = (values: number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length
  const softplus = (x: number): number => (x > 30 ? x : Math.log1p(Math.exp(x)))
  scope(() => {
    const [r, f] = [Tensor.from(real, [2, 3]), Tensor.from(fake, [2, 3])]
    const hinge = (mean(real.map((x) => Math.max(0, 1 - x))) + mean(fake.map((x) => Math.max(0, 1 + x)))) / 2
    close(t, discriminatorLoss(r, f, 'hinge').item(), hinge, 1e-6, 'hinge')
    close(t, generatorLoss(f, 'hinge').item(), -mean(fake), 1e-6, 'hinge of the generator')
    const smooth = (mean(real.map((x) => softplus(-x))) + mean(fake.map(softplus))) / 2
    close(t, discriminatorLoss(r, f, 'non-saturating').item(), smooth, 1e-6, 'non-saturating')
    close(t, generatorLoss(f, 'non-saturating').item(), mean(fake.map((x) => softplus(-x))), 1e-6, 'its generator')
  })
  const [r, f] = [signed([3, 5], 1, 3), signed([3, 5], 2, 3)]
  r.requiresGrad = true
  f.requiresGrad = true
  for (const loss of ['hinge', 'non-saturating'] as const) {
    const discriminator = gradcheck((a, b) => discriminatorLoss(a, b, loss), [r, f], { step: 1e-3 })
    t.ok(discriminator < 2e-3, `${loss} by differences ${discriminator}`)
    const generator = gradcheck((a) => generatorLoss(a, loss), [f])
    t.ok(generator < 2e-3, `${loss} of the generator by differences ${generator}`)
  }
})

t.test('the discriminator judges patches, and its gradients are right', async (t) => {
  using model = new PatchDiscriminator({ channels: 8, layers: 2, init: new Random(1) })
  const images = signed([2, 20, 24, 3], 3)
  images.requiresGrad = true
  scope(() => t.strictSame(model.forward(images).shape, [2, 3, 4, 1]))
  const weights = [...model.namedTensors()]
  // Biases keep all activations away from the kink of leakyRelu, half of them on either side.
  for (const { name, tensor } of weights)
    if (tensor.rank === 4) tensor.copyFrom(signed(tensor.shape, tensor.count, 0.1))
    else if (name.endsWith('bias')) tensor.write(Float32Array.from(tensor.floats(), (_, i) => (i % 2 === 0 ? 5 : -5)))
  const error = gradcheck(() => model.forward(images), [images, ...weights.map(({ tensor }) => tensor)], { step: 2e-2 })
  t.ok(error < 2e-3, `by differences ${error}`)
})

const draw = (part: Partial<AugmentDraw> = {}): AugmentDraw => ({
  ...{ brightness: 0, saturation: 1, contrast: 1, shift: [0, 0], cutout: [0, 0] },
  ...part,
})

t.test('colour is changed picture by picture', async (t) => {
  const [n, h, w] = [2, 3, 5]
  const images = signed([n, h, w, 3], 4)
  const draws = [
    draw({ brightness: 0.3, saturation: 1.7, contrast: 0.6 }),
    draw({ brightness: -0.4, saturation: 0.2, contrast: 1.4 }),
  ]
  scope(() => {
    const given = augment(images, draws, ['colour'])
    const expected = Float64Array.from(images.floats())
    draws.forEach(({ brightness, saturation, contrast }, i) => {
      const [begin, end] = [i * h * w * 3, (i + 1) * h * w * 3]
      for (let p = begin; p < end; p += 3) {
        const grey = (expected[p] + expected[p + 1] + expected[p + 2]) / 3 + brightness
        for (let c = 0; c < 3; c++) expected[p + c] = grey + saturation * (expected[p + c] + brightness - grey)
      }
      const mean = expected.subarray(begin, end).reduce((sum, v) => sum + v, 0) / (end - begin)
      for (let p = begin; p < end; p++) expected[p] = mean + contrast * (expected[p] - mean)
    })
    const error = relativeError(given, expected)
    t.ok(error < 1e-6, `relative error ${error}`)
  })
})

t.test('translation and cutout move pixels and leave zeros', async (t) => {
  const images = Tensor.from(
    Float32Array.from({ length: 2 * 8 * 8 * 3 }, (_, i) => i + 1),
    [2, 8, 8, 3],
  )
  const at = (i: number, y: number, x: number): number => ((i * 8 + y) * 8 + x) * 3 + 1
  scope(() => {
    const draws = [draw({ shift: [1 / 8, -1 / 8] }), draw({ shift: [-1 / 8, 0.01], cutout: [0.5, 0.99] })]
    const moved = augment(images, draws, ['translation']).floats()
    const value = (values: Float32Array, i: number, y: number, x: number): number => values[at(i, y, x) - 1]
    t.equal(value(moved, 0, 3, 4), at(0, 2, 5), 'down by one, left by one')
    t.equal(value(moved, 0, 0, 4), 0, 'nothing comes in at the top')
    t.equal(value(moved, 0, 3, 7), 0, 'or at the right')
    t.equal(value(moved, 1, 3, 4), at(1, 4, 4), 'up by one')
    const cut = augment(images, draws, ['cutout']).floats()
    for (let y = 0; y < 8; y++)
      for (let x = 0; x < 8; x++)
        t.equal(value(cut, 1, y, x), y >= 2 && y < 6 && x >= 5 ? 0 : at(1, y, x), `pixel ${y}, ${x}`)
  })
})

t.test('augmentation is differentiable, and none leaves the picture', async (t) => {
  const images = signed([2, 8, 6, 3], 5)
  images.requiresGrad = true
  const draws = drawAugmentations({ total: 2, begin: 0, end: 2 }, new Random(3))
  for (const kinds of [['colour'], ['translation', 'cutout'], ['colour', 'translation', 'cutout']] as const) {
    const error = gradcheck((x) => augment(x, draws, kinds), [images])
    t.ok(error < 2e-3, `${kinds}: by differences ${error}`)
  }
  scope(() => t.strictSame([...augment(images, draws, []).floats()], [...images.floats()]))
})

t.test('a picture draws the same whatever the share of the batch', async (t) => {
  const [whole, shared] = [new Random(7), new Random(7)]
  const all = drawAugmentations({ total: 5, begin: 0, end: 5 }, whole)
  t.strictSame(drawAugmentations({ total: 5, begin: 2, end: 4 }, shared), all.slice(2, 4))
  t.strictSame(shared.state(), whole.state())
  for (const { brightness, saturation, contrast, shift, cutout } of all) {
    t.ok(Math.abs(brightness) <= 0.5 && saturation >= 0 && saturation <= 2 && contrast >= 0.5 && contrast <= 1.5)
    t.ok([...shift].every((s) => Math.abs(s) <= 1 / 8) && [...cutout].every((c) => c >= 0 && c < 1))
  }
})

t.test('the perceptual distance', async (t) => {
  using backbone = new EfficientNetLite0()
  const random = new Random(9)
  scope(() => {
    for (const { tensor } of backbone.namedTensors()) {
      const fanIn = tensor.count / tensor.shape[0]
      tensor.copyFrom(random.normal(tensor.shape, { std: tensor.rank === 1 ? 0.1 : Math.sqrt(2 / fanIn) }))
    }
  })
  const [x, y] = [signed([2, 32, 32, 3], 6), signed([2, 32, 32, 3], 7)]
  scope(() => {
    const same = perceptualTerms(backbone, x, x, { logits: true })
    t.equal(same.features.item(), 0)
    t.equal(same.logits!.item(), 0)
    // By the definition, in double.
    const [fx, fy] = [backbone.features(x), backbone.features(y)]
    const distances = fx.map((f, i) => {
      const [a, b] = [f.floats(), fy[i].floats()]
      const c = f.dim(-1)
      let sum = 0
      for (let p = 0; p < a.length; p += c) {
        let [na, nb] = [0, 0]
        for (let k = p; k < p + c; k++) {
          na += a[k] ** 2
          nb += b[k] ** 2
        }
        for (let k = p; k < p + c; k++) sum += (a[k] / Math.sqrt(na + 1e-10) - b[k] / Math.sqrt(nb + 1e-10)) ** 2
      }
      return sum / (a.length / c)
    })
    const expected = distances.reduce((sum, d) => sum + d, 0) / distances.length
    const terms = perceptualTerms(backbone, x, y, { logits: true })
    close(t, terms.features.item(), expected, 1e-5, 'features')
    const [lx, ly] = [backbone.logits(fx.at(-1)!).floats(), backbone.logits(fy.at(-1)!).floats()]
    const logits = lx.reduce((sum, v, i) => sum + (v - ly[i]) ** 2, 0) / lx.length
    close(t, terms.logits!.item(), logits, 1e-5, 'logits')
    t.equal(perceptualTerms(backbone, x, y).logits, null)
  })
  x.requiresGrad = true
  const features = gradcheck((given) => perceptualTerms(backbone, given, y).features, [x], { step: 1e-2 })
  t.ok(features < 5e-3, `features by differences ${features}`)
  const logits = gradcheck((given) => perceptualTerms(backbone, given, y, { logits: true }).logits!, [x])
  t.ok(logits < 5e-3, `logits by differences ${logits}`)

  const before = native.memory('cpu').liveBytes
  scope(() => {
    const { grad } = valueAndGrad((given) => perceptualTerms(backbone, given, y).features, x)
    t.strictSame(grad.shape, x.shape)
  })
  t.equal(native.memory('cpu').liveBytes, before, 'nothing is left behind')
})

t.test('the value and gradient of a function leave an outer tape as it is', async (t) => {
  const x = Tensor.from([1, 2, 3], [3], { requiresGrad: true })
  scope(() => {
    const outer = scope(() => generatorLoss(x, 'non-saturating'))
    const { value, grad } = valueAndGrad((leaf) => generatorLoss(leaf, 'hinge'), x)
    t.equal(value.item(), -2)
    t.strictSame(
      [...grad.floats()].map((g) => Math.round(g * 3)),
      [-1, -1, -1],
    )
    t.equal(x.grad, null)
    backward(outer)
    t.ok(x.grad, 'the outer tape is there')
  })
  x.dispose()
  const y = Tensor.from([1, 2], [2])
  scope(() => {
    const { grad } = noGrad(() => valueAndGrad((leaf) => generatorLoss(leaf, 'hinge'), y))
    t.strictSame([...grad.floats()], [-0.5, -0.5], 'inside noGrad as well')
  })
})
