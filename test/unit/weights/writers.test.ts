import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { native } from '../../../lib/native/index.js'
import { scope, Tensor } from '../../../lib/tensor/index.js'
import { convertWeights, openWeights, writeSafetensors, writeTorch } from '../../../lib/weights/index.js'
import { readZip } from '../../../lib/weights/zip.js'
import { ZipWriter } from '../../../lib/weights/zip-writer.js'
import { goldenFolder } from '../../support/golden.js'

const samples = (): [string, Tensor][] => [
  ['floats', Tensor.from([1.5, -2, Number.NaN, Number.POSITIVE_INFINITY, 0, 6], [2, 3])],
  ['half', Tensor.from(Uint16Array.of(0x3c00, 0xc000, 1), [3, 1])],
  ['brain', Tensor.from(Uint16Array.of(0x3f80), [1], { dtype: 'bf16' })],
  ['ints', Tensor.from(Int32Array.of(-7, 2 ** 31 - 1), [2])],
  ['bytes', Tensor.from(Uint8Array.of(1, 2, 255), [3])],
  ['none', Tensor.empty([0, 4])],
  ['scalar', Tensor.from([42], [])],
  ['a.naïve ☃', Tensor.from([43], [1, 1, 1, 1])],
]

/** Names, types, shapes and bytes of all tensors of a file. */
function contents(path: string, key?: string): [string, string, readonly number[], number[]][] {
  using weights = openWeights(path, { key })
  return weights.names.map((name) => {
    using tensor = weights.tensor(name)
    return [name, tensor.dtype, tensor.shape, [...new Uint8Array(tensor.data().buffer)]]
  })
}

const bytesOf = (tensors: [string, Tensor][]) =>
  tensors.map(([name, tensor]) => [name, tensor.dtype, tensor.shape, [...new Uint8Array(tensor.data().buffer)]])

t.test('a written checkpoint comes back, and its tensors are aligned', async (t) => {
  const file = join(t.testdir(), 'weights.pth')
  scope(() => {
    const tensors = samples()
    writeTorch(file, tensors)
    t.same(contents(file), bytesOf(tensors))
  })
  const map = native.mapFile(file)
  const fail = (detail: string) => new Error(detail)
  const entries = [...readZip(map, fail, fail).values()]
  map.release()
  t.same(
    entries.map(({ name }) => name),
    ['data.pkl', 'byteorder', ...samples().map((_, i) => `data/${i}`), 'version'].map((name) => `weights/${name}`),
  )
  t.ok(entries.every(({ begin }) => begin % 64 === 0))
  const before = readFileSync(file)
  scope(() => {
    writeTorch(file, samples())
    const one = Tensor.from([1], [1])
    t.throws(
      () =>
        writeTorch(file, [
          ['a', one],
          ['a', one],
        ]),
      { code: 'ERR_ARGUMENT', message: /given twice/ },
    )
  })
  t.same(readFileSync(file), before, 'the same weights give the same bytes')
  t.same(readdirSync(join(file, '..')), ['weights.pth'])
})

// The bytes that PyTorch 2 opened (weights_only=True) and found equal; a change of them is to be tried there again.
t.test('what we write is what PyTorch was seen to open', async (t) => {
  const file = join(t.testdir(), 'x.pth')
  scope(() => writeTorch(file, [['w', Tensor.from([1, 2, 3], [3, 1])]]))
  const map = native.mapFile(file)
  const fail = (detail: string) => new Error(detail)
  const pickle = readZip(map, fail, fail).get('x/data.pkl')!
  map.release()
  t.same(
    readFileSync(file).subarray(pickle.begin, pickle.end).toString('latin1'),
    '\x80\x02ccollections\nOrderedDict\n)R(X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(' +
      '(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0' +
      '0X\x03\0\0\0cpuJ\x03\0\0\0tQJ\0\0\0\0(J\x03\0\0\0J\x01\0\0\0t(J\x01\0\0\0J\x01\0\0\0t\x89ccollections\nOrderedDict\n)RtRu.',
  )
})

t.test('an archive of more entries than 16 bits count', async (t) => {
  const file = join(t.testdir(), 'many.zip')
  const zip = new ZipWriter()
  const parts: Uint8Array[] = []
  for (let i = 0; i < 66_000; i++) parts.push(...zip.add(`x/${i}`, Uint8Array.of(i & 255)))
  writeFileSync(file, Buffer.concat([...parts, zip.finish()]))
  const map = native.mapFile(file)
  const fail = (detail: string) => new Error(detail)
  const entries = readZip(map, fail, fail)
  map.release()
  t.equal(entries.size, 66_000)
  const last = entries.get('x/65999')!
  t.same([...readFileSync(file).subarray(last.begin, last.end)], [65999 & 255])
})

t.test('formats and types', async (t) => {
  const folder = t.testdir()
  const at = (name: string) => join(folder, name)
  const golden = join(goldenFolder, 'checkpoint.pth')
  const weights = contents(golden, 'trainer.var_wo_ddp')
  const key = 'trainer.var_wo_ddp'
  const first = await convertWeights(golden, at('a.safetensors'), { key })
  t.match(first, { outputs: [at('a.safetensors')], left: [], tensors: { length: 4 }, bytes: 520 })
  t.same(contents(at('a.safetensors')), weights)
  await convertWeights(at('a.safetensors'), at('b.pt'))
  t.same(contents(at('b.pt')), weights)
  const whole = await convertWeights(golden, at('c.pth'), { dtype: 'bf16' })
  t.equal(whole.left.length, 17)
  t.same(
    whole.tensors.map(({ from, to }) => `${from} ${to}`),
    [...Array(8).fill('F32 bf16'), 'F16 bf16', 'BF16 bf16', 'I64 i32', 'F32 bf16', 'BOOL u8', 'F32 bf16'],
  )
  t.same(
    contents(at('c.pth')).map(([, dtype]) => dtype),
    whole.tensors.map(({ to }) => to),
  )
  const steps: number[][] = []
  const onProgress = (done: number, total: number) => void steps.push([done, total])
  const { bytes } = await convertWeights(at('c.pth'), at('d.safetensors'), { dtype: 'f32', onProgress })
  t.equal(steps.length, 14)
  t.same(steps[13], [bytes, bytes])
  const metadata = { note: 'kept' }
  scope(() => writeSafetensors(at('e.safetensors'), samples(), metadata))
  await convertWeights(at('e.safetensors'), at('f.safetensors'), { dtype: 'f16' })
  using f = openWeights(at('f.safetensors'))
  t.same(f.metadata, metadata)
  using floats = f.tensor('floats')
  t.same([...floats.data()], [0x3e00, 0xc000, floats.data()[2], 0x7c00, 0, 0x4600])
  t.equal(floats.data()[2] & 0x7c00, 0x7c00, 'what was no number is none')
  t.match(await convertWeights(at('e.safetensors'), at('g.pth')), { left: ['note'] })
})

async function rejects(t: Test, work: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  await t.rejects(work, { name: 'StarError', code, message })
}

t.test('what cannot be converted leaves nothing behind', async (t) => {
  const folder = t.testdir()
  const at = (name: string) => join(folder, name)
  scope(() => writeSafetensors(at('a.safetensors'), [['w', Tensor.from([70_000, 1, Number.POSITIVE_INFINITY], [3])]]))
  const convert = (output: string, options = {}) => convertWeights(at('a.safetensors'), at(output), options)
  await rejects(t, convert('b.pth', { dtype: 'f16' }), 'ERR_DTYPE', /1 values of "w" are too large for f16/)
  await rejects(t, convert('b.zip'), 'ERR_ARGUMENT', /unknown extension/)
  await rejects(t, convert('b.pth', { key: 'x' }), 'ERR_FILE', /no tensors below "x"/)
  await rejects(t, convertWeights(at('none.pth'), at('b.pth')), 'ERR_FILE', /no such file/)
  const stop = new AbortController()
  const stopped = convert('b.safetensors', { signal: stop.signal, onProgress: () => stop.abort(new Error('stop')) })
  await t.rejects(stopped, { message: 'stop' })
  t.same(readdirSync(folder), ['a.safetensors'])
})

t.test('shards', async (t) => {
  const folder = t.testdir()
  const at = (name: string) => join(folder, name)
  scope(() => writeSafetensors(at('a.safetensors'), samples(), { note: 'x' }))
  const { outputs } = await convertWeights(at('a.safetensors'), at('out'), { shardBytes: 24 })
  const number = (i: number) => `model-0000${i}-of-00003.safetensors`
  t.same(
    outputs,
    [number(1), number(2), number(3), 'model.safetensors.index.json'].map((name) => join(at('out'), name)),
  )
  t.same(readdirSync(at('out')), [number(1), number(2), number(3), 'model.safetensors.index.json'])
  t.same(contents(at('out')), contents(at('a.safetensors')))
  t.same(contents(join(at('out'), 'model.safetensors.index.json')), contents(at('a.safetensors')))
  const index = JSON.parse(readFileSync(join(at('out'), 'model.safetensors.index.json'), 'utf8'))
  t.equal(index.metadata.total_size, 24 + 6 + 2 + 8 + 3 + 0 + 4 + 4)
  t.same(new Set(Object.values(index.weight_map)), new Set([number(1), number(2), number(3)]))
  await rejects(t, convertWeights(at('a.safetensors'), at('out')), 'ERR_FILE', /already holds weights/)

  await convertWeights(at('a.safetensors'), at('one'))
  t.same(readdirSync(at('one')), ['model.safetensors'])
  t.same(contents(at('one')), contents(at('a.safetensors')))

  const indexFile = join(at('out'), 'model.safetensors.index.json')
  const broken = (change: (map: Record<string, string>) => void): void => {
    const copy = structuredClone(index)
    change(copy.weight_map)
    writeFileSync(indexFile, JSON.stringify(copy))
  }
  const refused = (message: RegExp, code = 'ERR_FILE') => t.throws(() => openWeights(at('out')), { code, message })
  broken((map) => Object.assign(map, { extra: number(1) }))
  refused(/says that model-00001-of-00003\.safetensors holds the tensor "extra"/)
  broken((map) => Object.assign(map, { scalar: '../a.safetensors' }))
  refused(/names the file "\.\.\/a\.safetensors", expected one beside it/)
  broken((map) => Object.assign(map, { scalar: 'gone.safetensors' }))
  refused(/gone\.safetensors cannot be read: there is no such file/)
  writeFileSync(indexFile, '{"weight_map": 3}')
  refused(/"weight_map" is 3/, 'ERR_CONFIG')
  writeFileSync(indexFile, '{')
  refused(/not valid JSON/, 'ERR_CONFIG')
  mkdirSync(at('empty'))
  t.throws(() => openWeights(at('empty')), { code: 'ERR_FILE', message: /holds no weights: expected one of model/ })
})

t.test('shards of PyTorch', async (t) => {
  const folder = t.testdir()
  scope(() => {
    const [first, ...rest] = samples()
    writeTorch(join(folder, 'pytorch_model-00001-of-00002.bin'), [first])
    writeTorch(join(folder, 'pytorch_model-00002-of-00002.bin'), rest)
    const places = samples().map(([name], i) => [name, `pytorch_model-0000${i === 0 ? 1 : 2}-of-00002.bin`])
    const index = { metadata: {}, weight_map: Object.fromEntries(places) }
    writeFileSync(join(folder, 'pytorch_model.bin.index.json'), JSON.stringify(index))
    t.same(contents(folder), bytesOf(samples()))
  })
  using weights = openWeights(folder)
  t.equal(weights.format, 'pytorch')
})
