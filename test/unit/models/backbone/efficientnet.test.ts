import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  backboneCache,
  EfficientNetLite0,
  fetchBackbone,
  foldNormalisations,
  loadBackbone,
} from '../../../../lib/models/backbone/index.js'
import { native } from '../../../../lib/native/index.js'
import { add, backward, mean, scope, square, Tensor } from '../../../../lib/tensor/index.js'
import { openWeights, writeSafetensors } from '../../../../lib/weights/index.js'
import { relativeError } from '../../../support/compare.js'
import { ruleSigned } from '../../../support/golden.js'
import { backboneGolden, backboneStateDict } from '../../../support/random-backbone.js'

const weights = backboneStateDict()
t.teardown(() => {
  for (const tensor of weights.values()) tensor.dispose()
})

t.test('features, logits and the gradient of images are those of PyTorch', async (t) => {
  using model = new EfficientNetLite0()
  scope(() => model.load(foldNormalisations(weights)))
  using golden = openWeights(backboneGolden)
  const before = native.memory('cpu').liveBytes
  scope(() => {
    const values = ruleSigned('efficientnet:images.47', 2 * 33 * 20 * 3)
    const images = Tensor.from(values, [2, 33, 20, 3], { requiresGrad: true })
    const features = model.features(images)
    const logits = model.logits(features.at(-1)!)
    backward([logits, ...features].map((x) => mean(square(x))).reduce((a, b) => add(a, b)))
    const check = (name: string, given: Tensor, tolerance: number): void => {
      const expected = golden.tensor(name)
      t.strictSame(given.shape, expected.shape)
      const error = relativeError(given, expected.floats())
      t.ok(error < tolerance, `${name}: ${error}`)
    }
    features.forEach((x, i) => {
      check(`features.${i}`, x, 5e-6)
    })
    check('logits', logits, 5e-6)
    check('gradient', images.grad!, 2e-5)
    for (const { name, tensor } of model.namedTensors()) if (tensor.grad) t.fail(`${name} has a gradient`)
  })
  t.equal(native.memory('cpu').liveBytes, before, 'nothing is left behind')
})

t.test('a backbone is opened by name from the cache or by the path of a state dict', async (t) => {
  const folder = t.testdir()
  const cache = process.env.XDG_CACHE_HOME
  process.env.XDG_CACHE_HOME = join(folder, 'cache')
  t.teardown(() => {
    if (cache === undefined) delete process.env.XDG_CACHE_HOME
    else process.env.XDG_CACHE_HOME = cache
  })
  t.throws(() => loadBackbone('efficientnet-lite0'), { code: 'ERR_FILE', message: /run "star data backbone" once/ })
  t.throws(() => loadBackbone('efficientnet'), { code: 'ERR_FILE', message: /there is no backbone "efficientnet"/ })

  const file = join(folder, 'own.safetensors')
  writeSafetensors(file, [...weights], {})
  using model = loadBackbone(file)
  scope(() => t.equal(model.features(Tensor.empty([1, 33, 32, 3])).length, 5))

  mkdirSync(join(folder, 'cache', 'star-t2i', 'backbones'), { recursive: true })
  t.equal(backboneCache('efficientnet-lite0'), join(folder, 'cache/star-t2i/backbones/efficientnet-lite0.safetensors'))
  writeSafetensors(backboneCache('efficientnet-lite0'), [...weights].slice(1), {})
  t.throws(() => loadBackbone('efficientnet-lite0'), { code: 'ERR_SHAPE', message: /_conv_stem/ })
})

t.test('weights other than the published ones are not taken into the cache', async (t) => {
  const folder = t.testdir()
  const file = join(folder, 'efficientnet-lite0-57934424.pth')
  writeFileSync(file, 'other weights')
  await t.rejects(fetchBackbone('efficientnet-lite0', { from: file }), { code: 'ERR_FILE', message: /has the SHA-256/ })
  await t.rejects(fetchBackbone('efficientnet-lite0', { from: join(folder, 'none.pth') }), {
    code: 'ERR_FILE',
    message: /there is no file/,
  })
})
