import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadTextEncoder } from '../../../lib/models/text/load.js'
import { relativeBucket } from '../../../lib/models/text/t5.js'
import { native, packageRoot } from '../../../lib/native/index.js'
import { scope, Tensor } from '../../../lib/tensor/index.js'
import { readSafetensors, writeSafetensors, writeTorch } from '../../../lib/weights/index.js'
import { relativeError, testDevice } from '../../support/golden.js'

const data = join(packageRoot, 'test/data')
const { tensors, metadata } = readSafetensors(join(data, 'text-encoders.safetensors'))
const prompts = JSON.parse(metadata.prompts) as string[]
const encoders = {
  clip: loadTextEncoder(join(data, 'clip'), testDevice),
  t5: loadTextEncoder(join(data, 't5'), testDevice),
}

const row = (x: Tensor, i: number, count = x.count / x.shape[0]): Float32Array =>
  x.floats().subarray((i * x.count) / x.shape[0], (i * x.count) / x.shape[0] + count)

for (const [name, encoder] of Object.entries(encoders)) {
  for (const trim of [false, true]) {
    t.test(`${name}: states and vectors agree with the reference${trim ? ', trimmed' : ''}`, async (t) => {
      scope(() => {
        const { states, pooled, mask, lengths } = encoder.encode(prompts, { trim })
        t.strictSame(states.shape, [prompts.length, encoder.maxLength, encoder.width])
        const real = mask.data()
        prompts.forEach((prompt, i) => {
          const label = JSON.stringify(prompt.slice(0, 40))
          const want = tensors.get(`${name}.states.${i}`)!.floats()
          t.equal(lengths[i] * encoder.width, want.length, label)
          t.strictSame(
            [...real.subarray(i * encoder.maxLength, (i + 1) * encoder.maxLength)],
            Array.from({ length: encoder.maxLength }, (_, j) => (j < lengths[i] ? 1 : 0)),
          )
          t.ok(relativeError(row(states, i, want.length), want) <= 1e-5, `states of ${label}`)
          t.ok(relativeError(row(pooled, i), row(tensors.get(`${name}.pooled`)!, i)) <= 1e-5, `vector of ${label}`)
        })
      })
    })
  }

  t.test(`${name}: a prompt alone, trimmed, has the states it has among longer ones`, async (t) => {
    scope(() => {
      const { states, pooled, lengths } = encoder.encode(['a red apple'], { trim: true })
      t.strictSame(states.shape, [1, lengths[0], encoder.width])
      t.ok(relativeError(states.floats(), tensors.get(`${name}.states.1`)!.floats()) <= 1e-5)
      t.ok(relativeError(pooled.floats(), row(tensors.get(`${name}.pooled`)!, 1)) <= 1e-5)
    })
  })

  t.test(`${name}: encoding leaves nothing behind`, async (t) => {
    const before = native.memory(testDevice).liveBytes
    const { states, pooled, mask } = encoder.encode(['one', 'two words'])
    for (const tensor of [states, pooled, mask]) tensor.dispose()
    t.equal(native.memory(testDevice).liveBytes, before)
  })

  t.test(`${name}: the fingerprint follows weights, configuration and tokenizer`, async (t) => {
    const own = encoder.fingerprint()
    t.equal(own, encoder.fingerprint())
    const folder = t.testdir()
    cpSync(join(data, name), folder, { recursive: true })
    const other = (): string => {
      const changed = loadTextEncoder(folder, testDevice)
      const hash = changed.fingerprint()
      changed.dispose()
      return hash
    }
    t.equal(other(), own, 'a copy')
    const config = join(folder, name === 'clip' ? 'text_encoder/config.json' : 'config.json')
    const text = readFileSync(config, 'utf8')
    writeFileSync(config, text.replace(/"(layer_norm_eps|layer_norm_epsilon)": [^,]+/, '"$1": 0.001'))
    t.not(other(), own, 'another epsilon')
    writeFileSync(config, text)
    const options = join(folder, name === 'clip' ? 'tokenizer/special_tokens_map.json' : 'tokenizer_config.json')
    writeFileSync(options, '{"extra_ids": 3}')
    t.not(other(), own, 'another tokenizer')
  })
}

t.test('a T5 encoder without its decoder, in one file of float32, gives the same', async (t) => {
  const folder = t.testdir()
  for (const name of ['config.json', 'spiece.model']) cpSync(join(data, 't5', name), join(folder, name))
  scope(() => {
    const parts = ['1', '2', '3'].map(
      (i) => readSafetensors(join(data, `t5/model-0000${i}-of-00003.safetensors`)).tensors,
    )
    const own = parts.flatMap((part) => [...part]).filter(([name]) => !name.startsWith('decoder.'))
    const shared = own.find(([name]) => name === 'shared.weight')![1]
    writeSafetensors(join(folder, 'model.safetensors'), [...own, ['encoder.embed_tokens.weight', shared]])
  })
  const encoder = loadTextEncoder(folder, testDevice)
  t.equal(encoder.fingerprint(), encoders.t5.fingerprint())
  encoder.dispose()
})

t.test('a CLIP model is found in its own folder, and with the names of newer files', async (t) => {
  const own = encoders.clip.fingerprint()
  const beside = loadTextEncoder(join(data, 'clip/text_encoder'), testDevice)
  t.equal(beside.fingerprint(), own)
  beside.dispose()
  const folder = t.testdir()
  cpSync(join(data, 'clip/text_encoder/config.json'), join(folder, 'config.json'))
  cpSync(join(data, 'clip/tokenizer'), folder, { recursive: true })
  scope(() => {
    const { tensors } = readSafetensors(join(data, 'clip/text_encoder/model.safetensors'))
    writeSafetensors(
      join(folder, 'model.safetensors'),
      [...tensors].map(([name, tensor]) => [name.replace('text_model.', ''), tensor]),
    )
  })
  const together = loadTextEncoder(folder, testDevice)
  t.equal(together.fingerprint(), own)
  together.dispose()
})

t.test('weights may be a PyTorch file, with the table of positions of older ones', async (t) => {
  const folder = t.testdir()
  cpSync(join(data, 'clip/text_encoder/config.json'), join(folder, 'config.json'))
  cpSync(join(data, 'clip/tokenizer'), folder, { recursive: true })
  const { tensors } = readSafetensors(join(data, 'clip/text_encoder/model.safetensors'))
  const positions = Tensor.from(Int32Array.of(0, 1, 2), [1, 3])
  const all = [...tensors, ['text_model.embeddings.position_ids', positions] as const]
  writeTorch(join(folder, 'pytorch_model.bin'), all)
  for (const [, tensor] of all) tensor.dispose()
  const encoder = loadTextEncoder(folder, testDevice)
  t.equal(encoder.fingerprint(), encoders.clip.fingerprint())
  encoder.dispose()
})

t.test('buckets of distances are those of the reference', async (t) => {
  const want = [...tensors.get('t5.buckets')!.ints()]
  t.strictSame(
    want.map((_, i) => relativeBucket(i - 200, 32, 128)),
    want,
  )
})

t.test('what is no encoder is refused, and nothing is left behind', async (t) => {
  const before = native.memory(testDevice).liveBytes
  const folder = t.testdir()
  const load = (): unknown => loadTextEncoder(folder, testDevice)
  t.throws(() => loadTextEncoder('minilm', testDevice), { code: 'ERR_CONFIG', message: /"minilm".*minilm-l6/ })
  t.throws(load, { code: 'ERR_FILE', message: /config\.json/ })
  writeFileSync(join(folder, 'config.json'), '{"model_type": "bert"}')
  t.throws(load, { code: 'ERR_CONFIG', message: /"bert".*clip_text_model or t5/ })
  cpSync(join(data, 't5'), folder, { recursive: true })
  const config = readFileSync(join(folder, 'config.json'), 'utf8')
  const change = (from: string, to: string): void =>
    writeFileSync(join(folder, 'config.json'), config.replace(from, to))
  change('"gated-gelu"', '"relu"')
  t.throws(load, { code: 'ERR_CONFIG', message: /feed_forward_proj.*"relu"/ })
  change('"vocab_size": 1024', '"vocab_size": 999')
  t.throws(load, { code: 'ERR_CONFIG', message: /vocab_size of 999.*1000 ids/ })
  change('"d_ff": 80', '"d_ff": 81')
  t.throws(load, { code: 'ERR_SHAPE', message: /config\.json does not fit .*"d_ff" is 81, of the weights 80/ })
  change('', '')
  rmSync(join(folder, 'model-00002-of-00003.safetensors'))
  t.throws(load, { code: 'ERR_FILE', message: /model-00002-of-00003/ })
  rmSync(join(folder, 'spiece.model'))
  t.throws(load, { code: 'ERR_FILE', message: /tokenizer/ })
  t.throws(() => encoders.clip.encode([]), { code: 'ERR_ARGUMENT' })
  t.equal(native.memory(testDevice).liveBytes, before)
})
