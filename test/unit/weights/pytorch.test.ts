import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { native, StarError } from '../../../lib/native/index.js'
import { openWeights } from '../../../lib/weights/index.js'
import { goldenFolder } from '../../support/golden.js'
import { archive, checkpoint, dict, int, latin1, tensor, text, u64 } from '../../support/torch-archive.js'

const floats = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer)

/** Values of a tensor in a file of these bytes. */
function readAs(t: Test, bytes: Uint8Array, name = 'a'): number[] {
  const file = join(t.testdir(), 'x.pth')
  writeFileSync(file, bytes)
  using weights = openWeights(file)
  using a = weights.tensor(name)
  return [...a.data()]
}

function refuses(t: Test, bytes: Uint8Array, message: RegExp, name = ''): void {
  const file = join(t.testdir(), 'bad.pth')
  writeFileSync(file, bytes)
  const expected = { name: 'StarError', code: 'ERR_FILE', message }
  t.throws(() => openWeights(file).tensors(), expected, name)
  try {
    openWeights(file).tensors()
  } catch (error) {
    t.notMatch((error as Error).message, /\n/, 'one line')
  }
}

const a = { count: 6, shape: [2, 3], strides: [3, 1] }
const six = floats(1, 2, 3, 4, 5, 6)

t.test('views of a storage: dense, transposed, with an offset, repeated, empty, a scalar', async (t) => {
  const read = (spelling: Partial<typeof a> & { offset?: number }) =>
    readAs(t, checkpoint(dict({ a: tensor({ ...a, ...spelling }) }), { 0: six }))
  t.same(read({}), [1, 2, 3, 4, 5, 6])
  t.same(read({ shape: [3, 2], strides: [1, 3] }), [1, 4, 2, 5, 3, 6])
  t.same(read({ shape: [2, 2], strides: [3, 1], offset: 1 }), [2, 3, 5, 6])
  t.same(read({ shape: [2, 2, 2], strides: [0, 1, 3] }), [1, 4, 2, 5, 1, 4, 2, 5])
  t.same(read({ shape: [], strides: [], offset: 5 }), [6])
  t.same(read({ shape: [1, 2], strides: [99, 1], offset: 4 }), [5, 6], 'the step of a dimension of one means nothing')
  t.same(read({ shape: [0, 4], strides: [4, 1], offset: 999 }), [], 'nor where an empty tensor lies')
})

t.test('every type, also with a step', async (t) => {
  const types: [string, NodeJS.TypedArray, string, number[]][] = [
    ['FloatStorage', Float32Array.of(1.5, -2, 9), 'f32', [1.5, 9]],
    ['HalfStorage', Uint16Array.of(0x3c00, 2, 3), 'f16', [0x3c00, 3]],
    ['BFloat16Storage', Uint16Array.of(0x3f80, 2, 3), 'bf16', [0x3f80, 3]],
    ['DoubleStorage', Float64Array.of(0.1, 0.2, 0.3), 'f32', [Math.fround(0.1), Math.fround(0.3)]],
    ['LongStorage', BigInt64Array.of(-5n, 7n, 2147483647n), 'i32', [-5, 2147483647]],
    ['IntStorage', Int32Array.of(-5, 7, 8), 'i32', [-5, 8]],
    ['ShortStorage', Int16Array.of(-5, 7, 8), 'i32', [-5, 8]],
    ['CharStorage', Int8Array.of(-5, 7, 8), 'i8', [-5, 8]],
    ['ByteStorage', Uint8Array.of(250, 7, 8), 'u8', [250, 8]],
    ['BoolStorage', Uint8Array.of(1, 0, 1), 'u8', [1, 1]],
  ]
  const file = join(t.testdir(), 'x.pth')
  for (const [storage, data, dtype, stepped] of types) {
    const spelling = { storage, count: 3 }
    const pickle = dict({
      dense: tensor({ ...spelling, shape: [3], strides: [1] }),
      stepped: tensor({ ...spelling, shape: [2], strides: [2] }),
    })
    writeFileSync(file, checkpoint(pickle, { 0: new Uint8Array(data.buffer) }))
    using weights = openWeights(file)
    using dense = weights.tensor('dense')
    using view = weights.tensor('stepped')
    t.equal(dense.dtype, dtype, storage)
    t.equal(dense.data()[0], stepped[0])
    t.same([...view.data()], stepped)
    t.equal(view.dtype, dtype)
  }
  const big = checkpoint(dict({ big: tensor({ storage: 'LongStorage', count: 1, shape: [1], strides: [1] }) }), {
    0: u64(2 ** 31),
  })
  refuses(t, big, /tensor "big" holds 2147483648 at index 0, which does not fit the i32/)
})

t.test('what is not asked for is not read, and a file gives its memory back', async (t) => {
  const file = join(t.testdir(), 'x.pth')
  const spelling = { count: 2 ** 20, shape: [2 ** 20], strides: [1] }
  writeFileSync(file, checkpoint(dict({ a: tensor(spelling) }), { 0: new Uint8Array(2 ** 22) }))
  const before = native.memory('cpu').liveBytes
  using weights = openWeights(file)
  t.same(
    [...weights.entries].map(({ name, dtype, shape }) => [name, dtype, shape]),
    [['a', 'F32', [2 ** 20]]],
  )
  using tensorA = weights.tensor('a')
  weights.dispose()
  t.equal(tensorA.floats()[2 ** 20 - 1], 0, 'a tensor outlives the file')
  t.equal(native.memory('cpu').liveBytes, before)
})

t.test('names: nested dictionaries, lists, tuples, ordered dictionaries, parameters, attributes, values', async (t) => {
  const one = tensor(a)
  const ordered = `ccollections\nOrderedDict\n)R(${text('w')}ctorch._utils\n_rebuild_parameter\n(${one}\x88ccollections\nOrderedDict\n)RtRu`
  const withMetadata = `${ordered}}${text('_metadata')}}sb`
  const pickle = dict({
    model: withMetadata,
    list: `](${one}${int(7)}e`,
    pair: `${text('q')}N\x86`,
    step: '\x8a\x09\0\0\0\0\0\0\0\0\x01',
    rate: 'G\x3f\xb9\x99\x99\x99\x99\x99\x9a',
    on: '\x88',
    dtype: 'ctorch\nbfloat16\n',
    size: `ctorch\nSize\n(${int(2)}t\x85R`,
    device: `ctorch\ndevice\n(${text('cuda')}${int(1)}tR`,
  })
  const file = join(t.testdir(), 'x.pth')
  writeFileSync(file, checkpoint(pickle, { 0: six }))
  using weights = openWeights(file)
  t.same(weights.names, ['model.w', 'list.0'])
  t.strictSame(
    [...weights.values],
    [
      ['list.1', 7],
      ['pair.0', 'q'],
      ['pair.1', null],
      ['step', 2n ** 64n],
      ['rate', 0.1],
      ['on', true],
      ['dtype', 'torch.bfloat16'],
      ['size.0', 2],
      ['device', 'cuda:1'],
    ],
  )
  using below = openWeights(file, { key: 'model' })
  t.same(below.names, ['w'])
  t.throws(() => openWeights(file, { key: 'modle' }), {
    code: 'ERR_FILE',
    message: /did you mean "model"\? .*has model, list/,
  })
  t.throws(() => weights.tensor('model.x'), { code: 'ERR_FILE', message: /did you mean "model\.w"/ })
})

t.test('archives: zip64, a comment, entries in any order', async (t) => {
  const pickle = dict({ a: tensor(a) })
  for (const options of [{ wide: true }, { comment: 'PK\x05\x06 in a comment, long enough to be one' }, {}])
    t.same(readAs(t, checkpoint(pickle, { 0: six }, options)), [1, 2, 3, 4, 5, 6])
  const reversed = archive([
    ['x/byteorder', latin1('little')],
    ['x/data/0', six],
    ['x/data.pkl', latin1(pickle)],
  ])
  t.same(readAs(t, reversed), [1, 2, 3, 4, 5, 6])
})

t.test('archives that are refused', async (t) => {
  const pickle = dict({ a: tensor(a) })
  const good = checkpoint(pickle, { 0: six })
  const zip = (...entries: [string, Uint8Array][]) => archive(entries)
  const cases: [string, Uint8Array, RegExp][] = [
    ['deflated', checkpoint(pickle, { 0: six }, { method: 8 }), /compressed \(method 8, deflate\)/],
    ['encrypted', checkpoint(pickle, { 0: six }, { flags: 1 }), /encrypted/],
    ['an entry of 4 GB', checkpoint(pickle, { 0: six }, { claimed: 0xfffffffe }), /lies outside the file/],
    ['an entry of 10 TB', checkpoint(pickle, { 0: six }, { claimed: 1e13, wide: true }), /lies outside the file/],
    ['no table', good.subarray(0, -1), /cut off/],
    ['nothing but the end', latin1(`PK\x05\x06${'\0'.repeat(18)}`), /holds 0 entries NAME\/data\.pkl/],
    ['no pickle', zip(['x/version', latin1('3')]), /no PyTorch checkpoint/],
    ['two pickles', zip(['x/data.pkl', latin1('N.')], ['y/data.pkl', latin1('N.')]), /holds 2 entries/],
    ['one name twice', zip(['x/data.pkl', latin1('N.')], ['x/data.pkl', latin1('N.')]), /two entries "x\/data\.pkl"/],
    ['big-endian', zip(['x/data.pkl', latin1('N.')], ['x/byteorder', latin1('big')]), /big-endian/],
    ['TorchScript', zip(['x/data.pkl', latin1('N.')], ['x/constants.pkl', latin1('N.')]), /TorchScript/],
    ['a storage that is missing', checkpoint(pickle, { 1: six }), /data\/0 is missing/],
    ['a storage that is short', checkpoint(pickle, { 0: six.subarray(4) }), /takes 24 bytes, its entry holds 20/],
  ]
  for (const [name, bytes, message] of cases) refuses(t, bytes, message, name)
})

t.test('pickles that are refused', async (t) => {
  const huge = tensor({ count: 2.5e12, shape: [2.5e12], strides: [1] })
  const spread = tensor({ count: 1, shape: [2 ** 40], strides: [0] })
  const beyond = tensor({ ...a, offset: 1 })
  const deep = `${'}X\x01\0\0\0a'.repeat(80)}N${'s'.repeat(80)}`
  // Each dictionary holds the one before twice: 2^40 places.
  const at = (i: number) => String.fromCharCode(i)
  const doubled = Array.from({ length: 40 }, (_, i) => `}q${at(i + 1)}(${text('a')}h${at(i)}${text('b')}h${at(i)}u0`)
  const cases: [string, string, RegExp][] = [
    ['os.system', dict({ a: `cos\nsystem\n(${text('touch /tmp/owned')}tR` }), /names the Python object "os\.system"/],
    ['eval by protocol 4', `\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.`, /"builtins\.eval"/],
    ['a class', '\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81.', /"torch\.nn\.modules\.linear\.Linear"/],
    ['an instance', '\x80\x02ccollections\nOrderedDict\n)\x81.', /instruction 0x81/],
    ['attributes of a tensor', dict({ a: `${tensor(a)}}b` }), /sets attributes/],
    ['another rebuild function', dict({ a: 'ctorch._utils\n_rebuild_sparse_tensor\n)R' }), /_rebuild_sparse_tensor/],
    ['another storage', dict({ a: tensor({ ...a, storage: 'ComplexFloatStorage' }) }), /ComplexFloatStorage/],
    ['a call of a storage type', dict({ a: 'ctorch\nFloatStorage\n)R' }), /calls what is no listed function/],
    ['a call with a wrong shape', dict({ a: tensor({ ...a, shape: [2] }) }), /arguments that do not fit/],
    [
      'a tensor of nine dimensions',
      dict({ a: tensor({ count: 1, shape: Array(9).fill(1), strides: Array(9).fill(1) }) }),
      /do not fit/,
    ],
    ['a tensor past its storage', dict({ a: beyond }), /arguments that do not fit/],
    ['a tensor of ten terabytes', dict({ a: huge }), /takes 10000000000000 bytes, its entry holds 24/],
    [
      'one element repeated without end',
      dict({ a: spread }),
      /takes 4398046511104 bytes, more than the \d+ of the file/,
    ],
    ['a storage of two sizes', dict({ a: tensor(a), b: tensor({ ...a, count: 7 }) }), /unknown way/],
    ['a persistent id of another kind', dict({ a: `(${text('module')}tQ` }), /unknown way/],
    [
      'a storage by itself',
      dict({ a: `(${text('storage')}ctorch\nFloatStorage\n${text('0')}${text('cpu')}${int(6)}tQ` }),
      /storage by itself, under "a"/,
    ],
    [
      'two values of one name',
      dict({ 'a.b': tensor(a), a: `}${text('b')}${tensor(a)}s` }),
      /two values in it have the name "a\.b"/,
    ],
    ['dictionaries nested deep', dict({ a: deep }), /nested more than 64 deep/],
    ['a dictionary in itself', `\x80\x02}q\0${text('a')}h\0s.`, /nested more than 64 deep/],
    ['dictionaries doubled', `\x80\x02}q\x000${doubled.join('')}h\x28.`, /more than 1000000 entries/],
    ['a key that is a list', '\x80\x02}]Ns.', /key of a dictionary/],
    ['a key of many characters', dict({ ['k'.repeat(2000)]: 'N' }), /key in it has 2000 characters/],
    ['a million lists', `\x80\x02](${']'.repeat(600_000)}e.`, /more than 500000 lists/],
    ['millions of values', `\x80\x02](${'N'.repeat(4_100_000)}e.`, /more than 4000000 values/],
    ['an integer of megabytes', `\x80\x02\x8b\0\0\x10\0${'\x01'.repeat(2 ** 20)}.`, /integer in it has 1048576 bytes/],
    ['a pickle cut off', dict({ a: tensor(a) }).slice(0, -1), /ends after \d+ bytes/],
  ]
  for (const [name, pickle, message] of cases) refuses(t, checkpoint(pickle, { 0: six }), message, name)
  const whole = tensor({ count: 2 ** 18, shape: [2 ** 18], strides: [1] })
  const shares = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`t${i}`, whole]))
  refuses(t, checkpoint(dict(shares), { 0: new Uint8Array(2 ** 20) }), /more than 16 times the \d+ bytes/)
})

/** Lengths to which a copy of the file can be cut without being refused. */
function acceptedCuts(t: Test, name: string): number[] {
  const golden = readFileSync(join(goldenFolder, name))
  const file = join(t.testdir(), 'cut.pth')
  writeFileSync(file, golden)
  const accepted: number[] = []
  for (let length = golden.length - 1; length > 0; length--) {
    truncateSync(file, length)
    try {
      openWeights(file).dispose()
      accepted.push(length)
    } catch (error) {
      if (!(error instanceof StarError) || error.code !== 'ERR_FILE' || /\n/.test(error.message)) throw error
    }
  }
  return accepted
}

t.test('checkpoints cut at any byte are refused', async (t) => {
  t.same(acceptedCuts(t, 'checkpoint.pth'), [])
  t.same(acceptedCuts(t, 'state_dict_legacy.pth'), [])
})

t.test('the form before 1.6', async (t) => {
  const golden = readFileSync(join(goldenFolder, 'state_dict_legacy.pth'))
  const changed = (from: string, to: string) => latin1(golden.toString('latin1').replace(from, to))
  refuses(t, changed('\x80\x02M\xe9\x03.', '\x80\x02M\xea\x03.'), /protocol is 1002, expected 1001/)
  refuses(t, changed('little_endian\x71\x02\x88', 'little_endian\x71\x02\x89'), /little-endian/)
  refuses(t, changed('\x8a\x0a\x6c', '\x8a\x0a\x6d'), /pickle without the mark of torch\.save/)
  refuses(t, changed('\x10\0\0\0\0\0\0\0', '\x11\0\0\0\0\0\0\0'), /has two sizes, 17 and 16/)
  refuses(t, changed('775745232q\x01', '775745239q\x01'), /list of storages is not that of its tensors/)
})

t.test('a file of gigabytes of nothing is refused without being read', async (t) => {
  const file = join(t.testdir(), 'x.pth')
  const fd = openSync(file, 'w')
  writeSync(fd, 'PK\x03\x04')
  closeSync(fd)
  truncateSync(file, 2 ** 33)
  t.throws(() => openWeights(file), { code: 'ERR_FILE', message: /cut off/ })
})
