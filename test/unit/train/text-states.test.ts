import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadTextEncoder, type TextEncoder } from '../../../lib/models/text/index.js'
import { native, packageRoot } from '../../../lib/native/index.js'
import { scope, slice } from '../../../lib/tensor/index.js'
import { TextStates } from '../../../lib/train/data/text-states.js'
import { relativeError, testDevice } from '../../support/golden.js'

const data = join(packageRoot, 'test/data')
const clip = loadTextEncoder(join(data, 'clip'), testDevice)
const t5 = loadTextEncoder(join(data, 't5'), testDevice)
/** The encoder for one user, who frees it. */
const kept = (encoder: TextEncoder): TextEncoder => Object.create(encoder, borrowed(encoder))

const captions = [
  '',
  ...Array.from({ length: 70 }, (_, i) => `${'a red cat, '.repeat(i % 9)}number ${i}`),
  '',
  'number 0',
]

/** An object that has an encoder's private parts cannot be a prototype of another: every member is passed on by hand. */
const borrowed = (encoder: TextEncoder): PropertyDescriptorMap => ({
  encode: { value: encoder.encode.bind(encoder), writable: true },
  name: { value: encoder.name },
  width: { value: encoder.width },
  fingerprint: { value: () => encoder.fingerprint() },
  tokenCounts: { value: (prompts: string[]) => encoder.tokenCounts(prompts) },
  dispose: { value: () => {} },
})

const counting = (encoder: TextEncoder): { encoder: TextEncoder; prompts: () => number } => {
  let count = 0
  const counted = kept(encoder) as { encode: TextEncoder['encode'] } & TextEncoder
  counted.encode = (prompts, options) => {
    count += prompts.length
    return encoder.encode(prompts, options)
  }
  return { encoder: counted, prompts: () => count }
}

const cases = [clip, t5].flatMap((encoder) => (['f32', 'f16'] as const).map((type) => ({ encoder, type })))
for (const { encoder, type } of cases)
  t.test(`${encoder.name}: a batch holds what the encoder gives, cached in ${type}`, async (t) => {
    const states = new TextStates(() => kept(encoder), t.testdir(), { type })
    const fits = (given: Float32Array, expected: Float32Array): void => {
      const error = relativeError(given, expected)
      if (type === 'f32') t.equal(error, 0)
      else t.ok(error > 0 && error < 1e-3, `rounded: ${error}`)
    }
    t.equal(states.width, encoder.width)
    scope(() => {
      const asked = [captions[5], '', captions[70], captions[5], captions[33]]
      const batch = states.batch(asked, testDevice)
      const want = encoder.encode(asked, { trim: true })
      t.strictSame(batch.states.shape, want.states.shape)
      t.strictSame([...batch.mask.data()], [...want.mask.data()])
      fits(batch.pooled.floats(), want.pooled.floats())
      asked.forEach((_, b) => {
        const [given, expected] = [batch, want].map((side) =>
          slice(slice(side.states, 0, b, b + 1), 1, 0, want.lengths[b]).floats(),
        )
        fits(given, expected)
      })
    })
    states.dispose()
  })

t.test('captions are encoded once for an encoder, each that is distinct', async (t) => {
  const folder = t.testdir()
  const { encoder, prompts } = counting(clip)
  const take = (encoder: TextEncoder, captions: readonly string[]): Buffer =>
    scope(() => {
      const states = new TextStates(() => encoder, folder)
      const batch = states.batch(captions, testDevice)
      const bytes = Buffer.concat([batch.states, batch.pooled].map((x) => Buffer.from(x.handle.read())))
      states.dispose()
      return bytes
    })
  const first = take(encoder, captions)
  t.equal(prompts(), 71)
  t.ok(take(encoder, captions).equals(first))
  t.equal(prompts(), 71, 'from the files, in another run')
  t.equal(readdirSync(folder).length, 1)
  take(encoder, captions.slice(1, 9))
  t.equal(prompts(), 71, 'fewer captions')
  take(encoder, ['one more', captions[3]])
  t.equal(prompts(), 73, 'those that share a pass with a new one are encoded again')
  t.ok(take(encoder, captions).equals(first), 'and stay as they were')
  take(kept(t5), captions)
  t.equal(readdirSync(folder).length, 2, 'another encoder')
})

t.test('a run that is repeated from any of its steps gets the same states, whatever was encoded before', async (t) => {
  const batches = [captions.slice(1, 9), captions.slice(5, 20), ['', ...captions.slice(15, 24)]]
  const bytesOf = (states: TextStates, batch: readonly string[]): Buffer =>
    scope(() => Buffer.from(states.batch(batch, testDevice).states.handle.read()))
  const whole = new TextStates(() => kept(clip), join(t.testdir({ whole: {}, parts: {} }), 'whole'))
  const expected = batches.map((batch) => bytesOf(whole, batch))
  whole.dispose()
  for (const stop of [0, 1, 2]) {
    const folder = join(t.testdirName, 'parts', String(stop))
    const first = new TextStates(() => kept(clip), folder)
    for (const batch of batches.slice(0, stop + 1)) bytesOf(first, batch)
    first.dispose()
    const again = new TextStates(() => kept(clip), folder)
    batches.forEach((batch, i) => {
      if (i >= stop) t.ok(bytesOf(again, batch).equals(expected[i]), `from ${stop}, batch ${i}`)
    })
    again.dispose()
  }
})

t.test('a cache that is too small for a batch gives what was encoded, and keeps what it can', async (t) => {
  const bytesOf = (states: TextStates): Buffer =>
    scope(() => Buffer.from(states.batch(captions, testDevice).states.handle.read()))
  const large = new TextStates(() => kept(clip), join(t.testdir(), 'large'))
  const expected = bytesOf(large)
  large.dispose()
  const { encoder, prompts } = counting(clip)
  const small = new TextStates(() => encoder, join(t.testdirName, 'small'), { limit: 30_000 })
  t.ok(bytesOf(small).equals(expected))
  t.equal(prompts(), 71)
  t.ok(bytesOf(small).equals(expected))
  t.ok(prompts() > 71, 'what was dropped is encoded again')
  small.dispose()
})

t.test('an encoder that is not needed any more is freed, and comes back', async (t) => {
  let loads = 0
  const before = native.memory(testDevice).liveBytes
  const states = new TextStates(() => {
    loads++
    return loadTextEncoder(join(data, 'clip'), testDevice)
  }, t.testdir())
  const take = (caption: string): void => scope(() => void states.batch([caption], testDevice))
  take('a')
  const loaded = native.memory(testDevice).liveBytes
  for (let i = 0; i < 1000; i++) take('a')
  t.ok(native.memory(testDevice).liveBytes < loaded)
  t.equal(loads, 1)
  take('b')
  t.equal(loads, 2)
  states.dispose()
  t.equal(native.memory(testDevice).liveBytes, before)
})

t.test('a damaged file is named', async (t) => {
  const folder = t.testdir()
  scope(() => {
    const states = new TextStates(() => kept(clip), folder)
    states.batch(captions, testDevice)
    states.dispose()
  })
  const [cache] = readdirSync(folder)
  const file = join(folder, cache, 'records.lmdb')
  const bytes = readFileSync(file)
  const store = new native.RecordStore(file)
  const key = createHash('sha256').update(captions[9]).digest().subarray(0, 16)
  bytes[bytes.indexOf(store.get(key)!) + 100] ^= 4
  store.close()
  writeFileSync(file, bytes)
  const states = new TextStates(() => kept(clip), folder)
  scope(() =>
    t.throws(() => states.batch(captions, testDevice), {
      code: 'ERR_FILE',
      message: /records\.lmdb is damaged.*remove the folder/,
    }),
  )
  states.dispose()
})
