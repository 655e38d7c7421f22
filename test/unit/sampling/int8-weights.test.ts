// Models whose matrices are in 8 bits: loaded, stored, converted, with LoRAs, and drawn with.
import { cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Star } from '../../../lib/index.js'
import { LoraAdapters, layersOf, loraLayers, loraTargetNames } from '../../../lib/models/lora/index.js'
import { isBlockMatrix, SamplerHead, StarTransformer } from '../../../lib/models/star/index.js'
import { native } from '../../../lib/native/index.js'
import type { Module } from '../../../lib/nn/index.js'
import { dequantizeRows, noGrad, quantizeRows, Random, scaleName, scope, Tensor } from '../../../lib/tensor/index.js'
import { writeReferenceLayout } from '../../../lib/train/checkpoint/reference-layout.js'
import { convertWeights } from '../../../lib/weights/convert.js'
import { openWeights, writeSafetensors } from '../../../lib/weights/index.js'
import { relativeError } from '../../support/compare.js'
import { signedValues } from '../../support/gradcheck.js'
import { writeTinyModel } from '../../support/tiny-model.js'
import { tinyInput, tinyModel, tinySizes, tinyText } from '../../support/tiny-star.js'

const weightsOf = (model: Module): Map<string, Tensor> =>
  new Map([...model.namedTensors()].map(({ name, tensor }) => [name, tensor]))

const int8Model = (options = {}): StarTransformer =>
  new StarTransformer({ ...tinySizes, ...options }, { init: null, int8: true }).setTrainable(false)

const logits = (model: StarTransformer): Float32Array =>
  noGrad(() => scope(() => model.forward({ input: tinyInput(2), text: tinyText(2) }).floats()))

t.test('the matrices of the blocks are in 8 bits, and nothing else', async (t) => {
  for (const options of [{}, { sharedAdaLN: true }, { enableCross: false }]) {
    using full = tinyModel(options)
    using model = int8Model(options)
    const names = [...weightsOf(full).keys()].filter(isBlockMatrix)
    t.equal(names.length, tinySizes.depth * (options && 'enableCross' in options ? 4 : 7))
    t.same(
      Array.from(model.namedTensors()).flatMap(({ name, tensor }) => (tensor.dtype === 'i8' ? [name] : [])),
      names,
    )
    model.load(weightsOf(full))
    // The same model with each matrix rounded by hand: activations are then all that differs.
    scope(() => {
      for (const [name, tensor] of weightsOf(full))
        if (isBlockMatrix(name)) tensor.copyFrom(dequantizeRows(quantizeRows(tensor)))
    })
    const error = relativeError(logits(model), logits(full.setTrainable(false)))
    t.ok(error > 0 && error < 2e-2, `${JSON.stringify(options)}: relative error ${error.toExponential(1)}`)
  }
  using head = new SamplerHead(tinySizes, { init: null, int8: true })
  using other = new SamplerHead(tinySizes, { init: new Random(1) })
  head.load(weightsOf(other))
  t.ok([...weightsOf(head)].every(([name, { dtype }]) => dtype === (isBlockMatrix(name) ? 'i8' : 'f32')))
})

t.test('both forms are read into both kinds of model', async (t) => {
  using full = tinyModel()
  using model = int8Model()
  model.load(weightsOf(full))
  using again = int8Model()
  again.load(weightsOf(model))
  for (const [name, tensor] of weightsOf(model)) t.same(tensor.data(), weightsOf(again).get(name)!.data(), name)
  using wide = tinyModel()
  wide.load(weightsOf(model))
  scope(() => {
    for (const [name, tensor] of weightsOf(wide))
      if (isBlockMatrix(name))
        t.same(tensor.floats(), dequantizeRows(quantizeRows(weightsOf(full).get(name)!)).floats())
  })
  const name = 'blocks.1.ffn.fc1.weight'
  const lacking = weightsOf(model)
  lacking.delete(scaleName(name))
  for (const target of [again, wide])
    t.throws(() => target.load(lacking), { code: 'ERR_SHAPE', message: /blocks\.1\.ffn\.fc1\.weight_scale/ })
  const wrong = weightsOf(model)
  using short = Tensor.from([1], [1])
  wrong.set(scaleName(name), short)
  for (const target of [again, wide]) t.throws(() => target.load(wrong), { code: 'ERR_SHAPE' })
})

t.test('LoRAs are applied beside 8 bits, and merged into them', async (t) => {
  using full = tinyModel()
  using model = int8Model()
  model.load(weightsOf(full))
  const plain = logits(model)
  const shapes = new Map(layersOf(model, loraTargetNames).map((name) => [name, { rank: 2, scale: 1 }]))
  using adapters = new LoraAdapters(model, shapes, { init: null })
  adapters.setTrainable(false)
  let salt = 1
  for (const { tensor } of adapters.namedTensors()) tensor.write(signedValues(tensor.count, salt++).map((v) => 0.3 * v))
  adapters.strength = 0
  t.same(logits(model), plain)
  adapters.strength = 1
  const applied = logits(model)
  t.ok(relativeError(applied, plain) > 0.05)
  // By hand: the sum is rounded to 8 bits once.
  const expected = scope(() =>
    Array.from(loraLayers(model), ([name, { weight, weightScale, inputs, outputs }]) => {
      const sum = dequantizeRows({ q: weight, scale: weightScale! }).floats()
      const [a, b] = ['A', 'B'].map((part) => weightsOf(adapters).get(`${name}.lora_${part}.weight`)!.floats())
      for (let o = 0; o < outputs; o++)
        for (let i = 0; i < inputs; i++)
          for (let k = 0; k < 2; k++) sum[o * inputs + i] += b[o * 2 + k] * a[k * inputs + i]
      return dequantizeRows(quantizeRows(Tensor.from(sum, [outputs, inputs]))).floats()
    }),
  )
  for (const layer of loraLayers(model).values()) layer.mergeUpdates()
  scope(() => {
    Array.from(loraLayers(model).values()).forEach(({ weight, weightScale }, i) => {
      const error = relativeError(dequantizeRows({ q: weight, scale: weightScale! }).floats(), expected[i])
      t.ok(error < 1e-4, `merged matrix ${i}: ${error}`)
    })
  })
  t.ok(relativeError(logits(model), applied) < 5e-2)
})

t.test('a model is converted, draws as one that was converted when loaded, and goes back', async (t) => {
  const folder = t.testdir()
  const [plain, small] = [join(folder, 'plain'), join(folder, 'small')]
  writeTinyModel(plain)
  mkdirSync(small)
  cpSync(plain, small, { recursive: true })
  const file = (of: string): string => join(of, 'transformer.safetensors')
  const done = await convertWeights(file(plain), file(small), { int8: isBlockMatrix })
  const bytes = done.tensors.filter(({ to }) => to === 'i8')
  t.equal(bytes.length, 14)
  t.match(bytes[0], { name: 'blocks.0.attn.mat_qkv.weight', from: 'F32' })
  t.ok(done.tensors.some(({ name, shape }) => name === 'blocks.0.attn.mat_qkv.weight_scale' && shape.join() === '96'))
  const draw = async (model: string, dtype?: 'int8' | 'f32') => {
    await using star = await Star.load(model, { device: 'cpu', dtype })
    const { images } = await star.generate(['a red apple', 'a blue sky'], { seed: 3 })
    t.equal(images[0].settings.dtype, star.info().dtype)
    return { dtype: star.info().dtype, pixels: images.map(({ data }) => Buffer.from(data).toString('base64')) }
  }
  const expected = await draw(plain, 'int8')
  t.equal(expected.dtype, 'int8')
  t.same(await draw(small), expected, 'what is stored in 8 bits is drawn in 8 bits')
  t.equal((await draw(small, 'f32')).dtype, 'f32')

  const back = join(folder, 'back.safetensors')
  const returned = await convertWeights(file(small), back, { dtype: 'bf16' })
  t.ok(returned.tensors.every(({ name, to }) => to === 'bf16' && !name.endsWith('_scale')))
  using weights = openWeights(back)
  using before = openWeights(file(plain))
  t.same(weights.names, before.names)
  await writeReferenceLayout(small, join(folder, 'ar-ckpt.pth'), {
    onProgress: () => {},
    signal: new AbortController().signal,
  })
  using published = openWeights(join(folder, 'ar-ckpt.pth'), { key: 'trainer.var_wo_ddp' })
  t.ok(Array.from(published.entries).every(({ name, dtype }) => dtype === 'F32' && !name.endsWith('weight_scale')))

  await convertWeights(file(small), join(folder, 'same.safetensors'))
  using same = openWeights(join(folder, 'same.safetensors'))
  t.equal(Array.from(same.entries).filter(({ dtype }) => dtype === 'I8').length, 14, 'as they are')
  scope(() => writeSafetensors(join(folder, 'other.safetensors'), [['w', Tensor.from([1, 2], [1, 2])]]))
  await t.rejects(
    convertWeights(join(folder, 'other.safetensors'), join(folder, 'x.safetensors'), { int8: isBlockMatrix }),
    {
      code: 'ERR_ARGUMENT',
      message: /other\.safetensors holds no matrix that is written in 8 bits/,
    },
  )
})

t.test('each picture is its own, and the shipped model takes less memory', async (t) => {
  const bytes = async (dtype: 'bf16' | 'int8'): Promise<number> => {
    const before = native.memory('cpu').liveBytes
    await using star = await Star.load('emoji-64', { device: 'cpu', dtype })
    const taken = native.memory('cpu').liveBytes - before
    const { images } = await star.generate(['a red apple', 'a tree'], { seed: 1 })
    const alone = await star.generate('a tree', { seed: 1 })
    const further = await star.generate('a tree', { seed: 1, count: 3 })
    if (dtype === 'int8') {
      t.same(images[1].data, alone.images[0].data, 'a picture does not depend on its batch')
      t.same(further.images[0].data, alone.images[0].data)
    }
    return taken
  }
  const [half, eighth] = [await bytes('bf16'), await bytes('int8')]
  using weights = openWeights(join('models', 'emoji-64', 'transformer.safetensors'))
  const matrices = [...weights.entries]
    .filter(({ name }) => isBlockMatrix(name))
    .reduce((sum, { shape }) => sum + shape[0] * shape[1], 0)
  t.ok(half - eighth > 0.9 * matrices, `${half} bytes in bf16, ${eighth} in 8 bits, of ${matrices} numbers`)
})
