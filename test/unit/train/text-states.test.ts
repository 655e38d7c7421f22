import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadTextEncoder, type TextEncoder } from '../../../lib/models/text/index.js'
import { native, packageRoot } from '../../../lib/native/index.js'
import { scope, slice } from '../../../lib/tensor/index.js'
import { TextStates } from '../../../lib/train/text-states.js'
import { relativeError, testDevice } from '../../support/golden.js'

const data = join(packageRoot, 'test/data')
const clip = loadTextEncoder(join(data, 'clip'), testDevice)
const t5 = loadTextEncoder(join(data, 't5'), testDevice)
const captions = [
  '',
  ...Array.from({ length: 70 }, (_, i) => `${'a red cat, '.repeat(i % 9)}number ${i}`),
  '',
  'number 0',
]

const counting = (encoder: TextEncoder): { encoder: TextEncoder; prompts: () => number } => {
  let count = 0
  const encode: TextEncoder['encode'] = (prompts, options) => {
    count += prompts.length
    return encoder.encode(prompts, options)
  }
  const counted: TextEncoder = Object.create(encoder, {
    encode: { value: encode },
    name: { value: encoder.name },
    width: { value: encoder.width },
    fingerprint: { value: () => encoder.fingerprint() },
    tokenCounts: { value: (prompts: string[]) => encoder.tokenCounts(prompts) },
  })
  return { encoder: counted, prompts: () => count }
}

for (const encoder of [clip, t5])
  t.test(`${encoder.name}: a batch holds what the encoder gives, in float16`, async (t) => {
    const folder = t.testdir()
    const states = await TextStates.build(encoder, captions, (hash) => join(folder, 'cache', hash))
    t.equal(states.width, encoder.width)
    scope(() => {
      const asked = [captions[5], '', captions[70], captions[5], captions[33]]
      const batch = states.batch(asked, testDevice)
      const want = encoder.encode(asked, { trim: true })
      t.strictSame(batch.states.shape, want.states.shape)
      t.strictSame([...batch.mask.data()], [...want.mask.data()])
      t.ok(relativeError(batch.pooled.floats(), want.pooled.floats()) < 1e-3)
      asked.forEach((_, b) => {
        const [given, expected] = [batch, want].map((side) =>
          slice(slice(side.states, 0, b, b + 1), 1, 0, want.lengths[b]).floats(),
        )
        t.ok(relativeError(given, expected) < 1e-3)
      })
    })
    t.throws(() => states.batch(['never seen'], testDevice), { code: 'ERR_ARGUMENT', message: /never seen/ })
    states.dispose()
  })

t.test('captions are encoded once for an encoder, each that is distinct', async (t) => {
  const folder = t.testdir()
  const file = (hash: string): string => join(folder, hash)
  const { encoder, prompts } = counting(clip)
  const progress: [number, number][] = []
  const first = await TextStates.build(encoder, captions, file, (...at) => progress.push(at))
  t.equal(prompts(), 71)
  t.strictSame(progress, [
    [32, 71],
    [64, 71],
    [71, 71],
  ])
  const again = await TextStates.build(encoder, captions, file)
  t.equal(prompts(), 71, 'from the file')
  t.equal(readdirSync(folder).length, 1)
  const other = await TextStates.build(t5, captions, file)
  t.equal(readdirSync(folder).length, 2, 'another encoder')
  const fewer = await TextStates.build(encoder, captions.slice(1, 9), file)
  t.equal(readdirSync(folder).length, 3, 'other captions')
  for (const states of [first, again, other, fewer]) states.dispose()
})

t.test('an interrupted run leaves no file, a damaged file is named', async (t) => {
  const folder = t.testdir()
  const file = join(folder, 'states')
  const abort = new AbortController()
  await t.rejects(
    TextStates.build(
      clip,
      captions,
      () => file,
      (done) => done >= 64 && abort.abort(new Error('stopped')),
      abort.signal,
    ),
    /stopped/,
  )
  t.strictSame(readdirSync(folder), [])
  const before = native.memory(testDevice).liveBytes
  const states = await TextStates.build(clip, captions, () => file)
  states.dispose()
  await t.rejects(
    TextStates.build(clip, captions.slice(0, 40), () => file),
    { code: 'ERR_FILE', message: /does not hold 40 captions/ },
  )
  writeFileSync(file, readFileSync(file).subarray(0, 1000))
  await t.rejects(
    TextStates.build(clip, captions, () => file),
    { code: 'ERR_FILE' },
  )
  t.ok(existsSync(file))
  t.equal(native.memory(testDevice).liveBytes, before)
})
