import t from 'tap'
import { LoraAdapters, layersOf, loraLayers, loraTargetNames } from '../../../lib/models/lora/index.js'
import { ScaleDecoder, type StarConfigInput, type StarTransformer, tokenLoss } from '../../../lib/models/star/index.js'
import { native } from '../../../lib/native/index.js'
import { Linear, LowRank } from '../../../lib/nn/index.js'
import { backward, cast, clearTape, noGrad, Random, scope, slice } from '../../../lib/tensor/index.js'
import { gradcheck, signed, signedValues } from '../../support/gradcheck.js'
import { tinyInput, tinyLength, tinyModel, tinySizes, tinyTargets, tinyText } from '../../support/tiny-star.js'

const rank = 3
const scale = 0.7

/** Updates of all matrices, or of some groups, with B at random too, so that they do something. */
function updates(model: StarTransformer, salt = 1, targets = loraTargetNames): LoraAdapters {
  const shapes = new Map(layersOf(model, targets).map((name) => [name, { rank, scale }]))
  const adapters = new LoraAdapters(model, shapes, { init: new Random(salt) })
  for (const { tensor } of adapters.namedTensors()) tensor.write(signedValues(tensor.count, salt++).map((v) => 0.3 * v))
  return adapters
}

const logits = (model: StarTransformer): Float32Array =>
  noGrad(() => scope(() => model.forward({ input: tinyInput(2), text: tinyText(2) }).floats()))

const furthest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i])), 0)

/** W + strength·scale·B·A in plain numbers, into the weights of a model. */
function addByHand(model: StarTransformer, adapters: LoraAdapters, strength: number): void {
  const named = new Map(Array.from(adapters.namedTensors(), ({ name, tensor }) => [name, tensor.floats()]))
  for (const [name, { weight, inputs, outputs }] of loraLayers(model)) {
    const [a, b] = ['A', 'B'].map((letter) => named.get(`${name}.lora_${letter}.weight`)!)
    const sum = Float64Array.from(weight.floats())
    for (let o = 0; o < outputs; o++)
      for (let i = 0; i < inputs; i++)
        for (let k = 0; k < rank; k++) sum[o * inputs + i] += strength * scale * b[o * rank + k] * a[k * inputs + i]
    weight.write(Float32Array.from(sum))
  }
}

const modes: Partial<StarConfigInput>[] = [{}, { crossAttention: 'first-sample' }, { enableCross: false }]

t.test('names and shapes are those of PEFT, and the update begins with nothing', async (t) => {
  using layer = new LowRank(8, 6, { rank: 2, scale: 1, init: new Random(1) })
  t.same(
    Array.from(layer.namedTensors(), ({ name, tensor }) => [name, [...tensor.shape]]),
    [
      ['lora_A.weight', [2, 8]],
      ['lora_B.weight', [6, 2]],
    ],
  )
  t.ok(layer.a.floats().every((v) => v !== 0 && Math.abs(v) <= 1 / Math.sqrt(8)))
  t.ok(layer.b.floats().every((v) => v === 0))
  using model = tinyModel()
  const names = layersOf(model, ['feed-forward'])
  t.same(names, ['blocks.0.ffn.fc1', 'blocks.0.ffn.fc2', 'blocks.1.ffn.fc1', 'blocks.1.ffn.fc2'])
  t.equal(layersOf(model, loraTargetNames).length, 14)
  using adapters = updates(model, 1, ['attention'])
  t.same(Array.from(adapters.namedTensors(), ({ name }) => name).slice(0, 2), [
    'blocks.0.attn.mat_qkv.lora_A.weight',
    'blocks.0.attn.mat_qkv.lora_B.weight',
  ])
  t.throws(() => new LoraAdapters(model, new Map([['blocks.7.attn.proj', { rank, scale }]]), { init: null }), {
    code: 'ERR_SHAPE',
    message: /blocks\.7\.attn\.proj, which the transformer does not have/,
  })
})

t.test('gradients of a layer with an update', async (t) => {
  for (const gelu of [false, true]) {
    using layer = new Linear(5, 4, { init: new Random(2) })
    layer.setTrainable(false)
    using update = new LowRank(5, 4, { rank: 2, scale: 1.3, init: new Random(3) })
    update.strength = 0.8
    update.b.write(signedValues(8, 4))
    layer.updates.push(update)
    const x = signed([3, 5], 9)
    x.requiresGrad = true
    const error = gradcheck((x) => layer.forward(x, { gelu }), [x, update.a, update.b], { step: 1e-3 })
    t.ok(error < 2e-3, `gelu ${gelu}: ${error}`)
    t.equal(layer.weight.grad, null, 'none of the frozen weight')
  }
})

for (const mode of modes) {
  const name = JSON.stringify(mode)
  t.test(`a transformer with updates is the one whose weights hold them, ${name}`, async (t) => {
    using model = tinyModel(mode)
    using other = tinyModel(mode)
    const base = logits(model)
    using adapters = updates(model)
    adapters.strength = 0.6
    const applied = logits(model)
    t.ok(furthest(applied, base) > 0.05, 'it does something')
    addByHand(other, adapters, 0.6)
    t.ok(furthest(applied, logits(other)) < 1e-5)
    adapters.strength = 0
    t.strictSame(logits(model), base, 'strength 0 is the base, bit for bit')
    adapters.strength = 0.6
    for (const layer of loraLayers(model).values()) layer.mergeUpdates()
    t.ok([...loraLayers(model).values()].every(({ updates }) => updates.length === 0))
    t.ok(furthest(applied, logits(model)) < 1e-5, 'merged')
  })

  t.test(`gradients of the updates of a transformer, ${name}`, async (t) => {
    for (const recompute of [false, true]) {
      using model = tinyModel(mode)
      model.setTrainable(false)
      using adapters = updates(model)
      const loss = () => {
        const out = model.forward({ input: tinyInput(2), text: tinyText(2), recompute })
        return tokenLoss(out, tinyTargets(2), { labelSmoothing: 0.1 })
      }
      const error = gradcheck(loss, adapters.parameters(), { step: 2e-2 })
      t.ok(error < 2e-3, `recompute ${recompute}: ${error}`)
      t.ok(model.parameters().every(({ grad }) => grad === null))
    }
  })
}

t.test('decoding scale by scale gives the logits of teacher forcing', async (t) => {
  using model = tinyModel()
  using _adapters = updates(model)
  const vocab = tinySizes.vocabSize
  scope(() => {
    const [input, text] = [tinyInput(1), tinyText(1)]
    const all = noGrad(() => model.forward({ input, text })).floats()
    using decoder = new ScaleDecoder(model, { text })
    for (const [k, { begin, end }] of model.levels.entries()) {
      const given = k === 0 ? null : slice(input, 1, begin - 1, end - 1)
      const drawn = noGrad(() => model.logits(decoder.step(k, given))).floats()
      t.ok(furthest(drawn, all.subarray(begin * vocab, end * vocab)) < 1e-5, `scale ${k}`)
    }
  })
  t.equal(tinyLength, 14)
})

t.test('several at once add up, in any order, and leave nothing behind', async (t) => {
  using model = tinyModel()
  const base = logits(model)
  const before = native.memory('cpu').liveBytes
  const first = updates(model, 1)
  const second = updates(model, 100, ['attention', 'feed-forward'])
  first.strength = 0.5
  second.strength = -1.2
  const both = logits(model)
  using other = tinyModel()
  const [mergedFirst, mergedSecond] = [updates(other, 1), updates(other, 100, ['attention', 'feed-forward'])]
  mergedFirst.strength = 0.5
  mergedSecond.strength = -1.2
  for (const layer of loraLayers(other).values()) layer.mergeUpdates()
  t.ok(furthest(both, logits(other)) < 1e-5)
  for (const one of [mergedFirst, mergedSecond, other]) one.dispose()
  second.dispose()
  first.dispose()
  t.strictSame(logits(model), base)
  t.equal(native.memory('cpu').liveBytes, before)
})

t.test('a base in 16 bits stays as it is, and training steps the updates alone', async (t) => {
  using model = tinyModel()
  model.setTrainable(false)
  for (const single of model.toHalf('bf16').values()) single.dispose()
  const stored = (): Buffer =>
    Buffer.concat(Array.from(model.namedTensors(), ({ tensor }) => Buffer.from(tensor.handle.read())))
  const before = stored()
  using adapters = updates(model)
  for (const single of adapters.toHalf('bf16').values()) single.dispose()
  scope(() => backward(tokenLoss(model.forward({ input: tinyInput(2), text: tinyText(2) }), tinyTargets(2))))
  clearTape()
  for (const { name, tensor } of adapters.namedTensors()) {
    t.equal(tensor.dtype, 'bf16')
    t.ok(
      scope(() => cast(tensor.grad!, 'f32').floats()).some((v) => v !== 0),
      name,
    )
  }
  adapters.zeroGrad()
  t.strictSame(stored(), before)
})
