import { join } from 'node:path'
import t from 'tap'
import { MiniLmEncoder } from '../../../lib/models/text/minilm.js'
import { native, packageRoot, StarError } from '../../../lib/native/index.js'
import { scope, type Tensor } from '../../../lib/tensor/index.js'
import { readSafetensors } from '../../../lib/weights/safetensors.js'
import { relativeError, testDevice } from '../../support/golden.js'

const encoder = MiniLmEncoder.load(join(packageRoot, 'models/minilm-l6'), { device: testDevice })
const { tensors, metadata } = readSafetensors(join(packageRoot, 'test/data/minilm.safetensors'))
const prompts = JSON.parse(metadata.prompts) as string[]

const rows = (x: Tensor, i: number, count: number): Float32Array => {
  const size = x.count / x.shape[0]
  return x.floats().subarray(i * size, i * size + count)
}

t.test('ids are those of the reference tokenizer', async (t) => {
  prompts.forEach((prompt, i) => {
    t.strictSame(
      encoder.tokenizer.encode(prompt, encoder.maxLength),
      [...tensors.get(`ids.${i}`)!.ints()],
      JSON.stringify(prompt.slice(0, 40)),
    )
  })
})

for (const trim of [false, true]) {
  t.test(`states and vectors agree with the reference${trim ? ', trimmed' : ''}`, async (t) => {
    scope(() => {
      const { states, pooled, mask, lengths } = encoder.encode(prompts, { trim })
      t.strictSame(states.shape, [prompts.length, encoder.maxLength, encoder.width])
      t.strictSame(mask.shape, [prompts.length, encoder.maxLength])
      prompts.forEach((prompt, i) => {
        const want = tensors.get(`states.${i}`)!.floats()
        t.equal(lengths[i] * encoder.width, want.length)
        t.ok(
          relativeError(rows(states, i, want.length), want) <= 1e-5,
          `states of ${JSON.stringify(prompt.slice(0, 40))}`,
        )
        t.ok(
          relativeError(rows(pooled, i, encoder.width), rows(tensors.get('pooled')!, i, encoder.width)) <= 1e-5,
          'vector',
        )
      })
    })
  })
}

t.test('a prompt alone, trimmed, has the states it has in a batch', async (t) => {
  scope(() => {
    const { states, lengths } = encoder.encode(['a red apple'], { trim: true })
    t.strictSame(states.shape, [1, lengths[0], encoder.width])
    const want = tensors.get('states.1')!.floats()
    t.ok(relativeError(states.floats(), want) <= 1e-5)
  })
})

t.test('the empty prompt has the two special tokens', async (t) => {
  scope(() => {
    const { mask, lengths, states } = encoder.encode([''])
    t.strictSame(lengths, [2])
    t.strictSame(
      [...mask.data()],
      Array.from({ length: encoder.maxLength }, (_, i) => (i < 2 ? 1 : 0)),
    )
    t.ok(states.floats().every(Number.isFinite))
  })
})

t.test('encoding leaves nothing behind', async (t) => {
  const before = native.memory(testDevice).liveBytes
  const { states, pooled, mask } = encoder.encode(['one', 'two words'])
  for (const tensor of [states, pooled, mask]) tensor.dispose()
  t.equal(native.memory(testDevice).liveBytes, before)
})

t.test('wrong calls say what is wrong', async (t) => {
  t.throws(() => encoder.encode([]), { name: 'StarError', code: 'ERR_ARGUMENT' })
  t.throws(() => MiniLmEncoder.load(join(packageRoot, 'models/none')), { name: 'StarError', code: 'ERR_FILE' })
  t.throws(() => new MiniLmEncoder(encoder.model, encoder.tokenizer, { maxLength: 513 }), {
    code: 'ERR_ARGUMENT',
    message: /513.*2 to 512/,
  })
  t.throws(() => encoder.tokenizer.encode('a', 1), StarError)
})
