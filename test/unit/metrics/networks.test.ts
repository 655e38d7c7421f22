import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { toTensor } from '../../../lib/data/index.js'
import { clipScores } from '../../../lib/metrics/clip-score.js'
import { loadFeatures } from '../../../lib/metrics/features.js'
import { frechetDistance } from '../../../lib/metrics/frechet.js'
import { clipImage } from '../../../lib/metrics/resize.js'
import { ssim } from '../../../lib/metrics/ssim.js'
import { FeatureStatistics } from '../../../lib/metrics/statistics.js'
import { Clip } from '../../../lib/models/metrics/index.js'
import { native } from '../../../lib/native/index.js'
import { scope, Tensor } from '../../../lib/tensor/index.js'
import { openWeights, writeSafetensors } from '../../../lib/weights/index.js'
import { relativeError } from '../../support/compare.js'
import {
  metricsGolden,
  rulePicture,
  rulePictures,
  writeRuleClip,
  writeRuleInception,
} from '../../support/metric-pictures.js'
import { writeBackbone } from '../../support/random-backbone.js'

const values = (name: string): Float32Array => {
  using golden = openWeights(metricsGolden)
  using tensor = golden.tensor(name)
  return tensor.floats()
}

/** A tensor of doubles in the golden file. */
function doubles(name: string): number[] {
  const bytes = readFileSync(metricsGolden)
  const length = Number(bytes.readBigUInt64LE(0))
  const { data_offsets } = JSON.parse(bytes.toString('utf8', 8, 8 + length))[name] as { data_offsets: number[] }
  const [begin, end] = data_offsets.map((offset) => 8 + length + offset)
  return [...new Float64Array(Uint8Array.from(bytes.subarray(begin, end)).buffer)]
}

t.test('Inception features and the FID of two sets of pictures are those of pytorch-fid and NumPy', async (t) => {
  const network = loadFeatures(writeRuleInception(t.testdir()), 'cpu')
  const before = native.memory('cpu').liveBytes
  const sets = (['a', 'b'] as const).map((set) => {
    const features = network.features(rulePictures(set))
    const error = relativeError(features, values(`inception.${set}`))
    t.ok(error < 2e-6, `features of ${set}: ${error}`)
    const statistics = new FeatureStatistics(network.size)
    statistics.add(features)
    return statistics
  })
  t.equal(native.memory('cpu').liveBytes, before, 'nothing is left behind')
  const [expected] = doubles('fid')
  const { distance } = frechetDistance(sets[0], sets[1])
  t.ok(Math.abs(distance / expected - 1) < 1e-6, `${distance}, expected ${expected}`)
  t.ok(network.comparable)
  network.dispose()
})

t.test('CLIP scores are those of transformers', async (t) => {
  using clip = Clip.load(writeRuleClip(join(t.testdir(), 'clip')))
  const pictures = rulePictures('clip')
  pictures.forEach((picture, i) => {
    using golden = openWeights(metricsGolden)
    using expected = golden.tensor(`bicubic.${i}`)
    t.same(clipImage(picture, clip.imageSide).data, new Uint8Array(expected.handle.read()), `picture ${i} resized`)
  })
  using golden = openWeights(metricsGolden)
  const prompts = JSON.parse(golden.metadata.prompts) as string[]
  const expected = values('clip.scores')
  const before = native.memory('cpu').liveBytes
  prompts.forEach((prompt, j) => {
    const scores = clipScores(
      clip,
      pictures,
      pictures.map(() => prompt),
    )
    scores.forEach((score, i) => {
      const wanted = expected[i * prompts.length + j]
      t.ok(Math.abs(score - wanted) < 1e-4, `picture ${i}, ${JSON.stringify(prompt)}: ${score}, expected ${wanted}`)
    })
  })
  t.equal(native.memory('cpu').liveBytes, before, 'nothing is left behind')
})

t.test('structural similarity is that of SciPy', async (t) => {
  const [first, second] = [0, 1].map((i) => rulePicture(`ssim.${i}`, [33, 40]))
  const mixed = first.data.map((value, i) => Math.trunc(value * 0.7 + second.data[i] * 0.3))
  const tensor = (data: Uint8Array): Tensor =>
    Tensor.from(
      Float32Array.from(data, (v) => v / 127.5 - 1),
      [1, 33, 40, 3],
    )
  const expected = doubles('ssim')
  scope(() => {
    const [a, b, c] = [first.data, second.data, mixed].map(tensor)
    t.ok(Math.abs(ssim(a, b) - expected[0]) < 1e-6)
    t.ok(Math.abs(ssim(a, c) - expected[1]) < 1e-6)
    t.ok(Math.abs(ssim(a, a) - 1) < 1e-6)
  })
})

t.test('what holds no such network is refused in one line', async (t) => {
  const folder = t.testdir()
  const refuses = (work: () => unknown, code: string, message: RegExp): void => {
    t.throws(work, { code, message })
    try {
      work()
    } catch (error) {
      t.notMatch((error as Error).message, /\n/)
    }
  }
  refuses(
    () => loadFeatures('inception', 'cpu'),
    'ERR_FILE',
    /no features "inception": expected efficientnet-lite0, or/,
  )
  refuses(() => loadFeatures(writeBackbone(folder), 'cpu'), 'ERR_SHAPE', /do not fit the model.*expected the Inception/)
  const other = join(folder, 'torchvision.safetensors')
  scope(() => writeSafetensors(other, [['fc.weight', toTensor([new Uint8Array(3)], 1)]], {}))
  refuses(
    () => loadFeatures(other, 'cpu'),
    'ERR_SHAPE',
    /Inception v3 of 1 classes, which is not the one that FID uses/,
  )

  refuses(() => Clip.load(folder), 'ERR_FILE', /there is no config\.json/)
  mkdirSync(join(folder, 'text'))
  writeFileSync(join(folder, 'text', 'config.json'), '{"model_type":"clip_text_model"}')
  refuses(() => Clip.load(join(folder, 'text')), 'ERR_CONFIG', /is of a "clip_text_model", expected a whole CLIP model/)
  const changed = writeRuleClip(join(folder, 'changed'))
  const config = JSON.parse(readFileSync(join(changed, 'config.json'), 'utf8'))
  config.projection_dim = 25
  writeFileSync(join(changed, 'config.json'), JSON.stringify(config))
  refuses(() => Clip.load(changed), 'ERR_SHAPE', /projection.*Take weights and config\.json from the same model/)
})
