import {
  closeSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { native } from '../../../lib/native/index.js'
import { scope, Tensor } from '../../../lib/tensor/index.js'
import { readSafetensors, readSafetensorsHeader, writeSafetensors } from '../../../lib/weights/index.js'

/** Bytes of a file with this header object (or text) and data. */
function bytesOf(header: unknown, data: Uint8Array): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  return Buffer.concat([length, json, data])
}

const rejects = (message: RegExp) => ({ name: 'StarError', code: 'ERR_FILE', message })

t.test('every dtype, an empty tensor, a scalar and metadata come back', async (t) => {
  const file = join(t.testdir(), 'new-folder', 'a.safetensors')
  scope(() => {
    const written: [string, Tensor][] = [
      ['bytes', Tensor.from(Uint8Array.of(1, 2, 255), [3])],
      ['floats', Tensor.from(Float32Array.of(1.5, -2, 3e-40, Number.POSITIVE_INFINITY, 0, 6), [2, 3])],
      ['half', Tensor.from(Uint16Array.of(0x3c00, 0xc000, 1), [3, 1])],
      ['brain', Tensor.from(Uint16Array.of(0x3f80), [1], { dtype: 'bf16' })],
      ['ints', Tensor.from(Int32Array.of(-7, 2 ** 31 - 1), [2])],
      ['none', Tensor.empty([0, 4])],
      ['scalar', Tensor.from([42], [])],
      ['__proto__', Tensor.from([43], [1])],
    ]
    writeSafetensors(file, written, { note: 'ünï', empty: '' })
    const { tensors, metadata } = readSafetensors(file)
    t.strictSame(
      [...tensors.keys()],
      written.map(([name]) => name),
    )
    t.strictSame(metadata, { note: 'ünï', empty: '' })
    for (const [name, tensor] of written) {
      const back = tensors.get(name)!
      t.equal(back.dtype, tensor.dtype)
      t.strictSame(back.shape, tensor.shape)
      t.strictSame(back.data(), tensor.data())
    }
    t.strictSame(readdirSync(join(file, '..')), ['a.safetensors'], 'no temporary file stays')
    t.equal(
      readSafetensorsHeader(file).entries.every((e) => e.begin % 2 === 0 || e.dtype === 'U8'),
      true,
      'tensors are aligned',
    )
  })
})

t.test('wider types are converted, values that do not fit are refused', async (t) => {
  const dir = t.testdir()
  const file = join(dir, 'wide.safetensors')
  const types: [string, NodeJS.TypedArray, number[]][] = [
    ['I64', BigInt64Array.of(-1n, 2147483647n), [-1, 2147483647]],
    ['U64', BigUint64Array.of(5n), [5]],
    ['U32', Uint32Array.of(7), [7]],
    ['F64', Float64Array.of(0.1), [Math.fround(0.1)]],
    ['I16', Int16Array.of(-3), [-3]],
    ['U16', Uint16Array.of(65535), [65535]],
    ['I8', Int8Array.of(-128), [-128]],
    ['BOOL', Uint8Array.of(1, 0), [1, 0]],
  ]
  const header: Record<string, unknown> = {}
  let position = 0
  for (const [dtype, data] of types) {
    header[`t${dtype}`] = { dtype, shape: [data.length], data_offsets: [position, position + data.byteLength] }
    position += data.byteLength
  }
  writeFileSync(file, bytesOf(header, Buffer.concat(types.map(([, d]) => new Uint8Array(d.buffer)))))
  scope(() => {
    const { tensors } = readSafetensors(file)
    for (const [dtype, , expected] of types) t.strictSame([...tensors.get(`t${dtype}`)!.data()], expected, dtype)
  })
  writeFileSync(
    file,
    bytesOf(
      { big: { dtype: 'I64', shape: [1], data_offsets: [0, 8] } },
      new Uint8Array(BigInt64Array.of(2n ** 31n).buffer),
    ),
  )
  t.throws(() => readSafetensors(file), rejects(/big.*2147483648.*does not fit/))
})

t.test('tensors that lie unaligned are copied', async (t) => {
  const file = join(t.testdir(), 'odd.safetensors')
  const data = Buffer.concat([Buffer.of(9), Buffer.from(Float32Array.of(1.25, -8).buffer)])
  writeFileSync(
    file,
    bytesOf(
      { a: { dtype: 'U8', shape: [1], data_offsets: [0, 1] }, b: { dtype: 'F32', shape: [2], data_offsets: [1, 9] } },
      data,
    ),
  )
  scope(() => t.strictSame([...readSafetensors(file).tensors.get('b')!.floats()], [1.25, -8]))
})

t.test('a write to a mapped tensor leaves the file alone, and takes no allocator memory', async (t) => {
  const file = join(t.testdir(), 'a.safetensors')
  scope(() => writeSafetensors(file, [['x', Tensor.from(new Float32Array(5000).fill(3), [5000])]]))
  const before = readFileSync(file)
  const live = native.memory('cpu').liveBytes
  scope(() => {
    const x = readSafetensors(file).tensors.get('x')!
    t.equal(native.memory('cpu').liveBytes, live)
    x.write(new Float32Array(5000).fill(4))
    t.equal(x.floats()[4999], 4)
  })
  t.strictSame(readFileSync(file), before)
})

t.test('only the tensors that pass the filter are read', async (t) => {
  const file = join(t.testdir(), 'a.safetensors')
  scope(() => {
    writeSafetensors(file, [
      ['a.x', Tensor.from([1], [1])],
      ['b.x', Tensor.from([2], [1])],
    ])
    t.strictSame([...readSafetensors(file, { filter: (name) => name.startsWith('b.') }).tensors.keys()], ['b.x'])
  })
})

t.test('damaged files are refused with the reason', async (t) => {
  const file = join(t.testdir(), 'bad.safetensors')
  const x = { dtype: 'F32', shape: [2], data_offsets: [0, 8] }
  const eight = new Uint8Array(8)
  const cases: [string, Uint8Array, RegExp][] = [
    ['empty', Buffer.alloc(0), /is empty/],
    ['short', Buffer.alloc(5), /5 bytes, less than the 8/],
    ['header past the end', bytesOf({ x }, eight).subarray(0, 20), /cut off/],
    ['huge header', Buffer.alloc(64, 0xff), /more than the 100000000 allowed/],
    ['not JSON', bytesOf('{"x": ', eight), /not JSON/],
    ['not UTF-8', bytesOf('{}', eight).fill(0xff, 9, 10), /not JSON/],
    ['an array', bytesOf('[]', eight), /not a JSON object/],
    ['null', bytesOf('null', eight), /not a JSON object/],
    ['null entry', bytesOf({ x: null }, eight), /no description/],
    ['no dtype', bytesOf({ x: { shape: [2] } }, eight), /no dtype/],
    ['unknown dtype', bytesOf({ x: { ...x, dtype: 'F8_E4M3' } }, eight), /F8_E4M3, which cannot be read/],
    ['dtype of Object', bytesOf({ x: { ...x, dtype: 'constructor' } }, eight), /constructor, which cannot be read/],
    ['negative shape', bytesOf({ x: { ...x, shape: [-2] } }, eight), /shape of tensor "x"/],
    ['shape overflow', bytesOf({ x: { ...x, shape: [2 ** 50, 2 ** 50] } }, eight), /its offsets hold 8/],
    ['too many dimensions', bytesOf({ x: { ...x, shape: Array(9).fill(1) } }, eight), /9 dimensions/],
    ['no offsets', bytesOf({ x: { dtype: 'F32', shape: [2] } }, eight), /no pair of data offsets/],
    ['reversed offsets', bytesOf({ x: { ...x, data_offsets: [8, 0] } }, eight), /before its begin/],
    ['past the end', bytesOf({ x }, eight.subarray(1)), /was cut off/],
    ['wrong size', bytesOf({ x: { ...x, shape: [3] } }, eight), /takes 12 bytes, its offsets hold 8/],
    ['overlap', bytesOf({ x, y: { ...x, data_offsets: [4, 12] } }, Buffer.alloc(12)), /overlaps/],
    ['hole', bytesOf({ x, y: { ...x, data_offsets: [12, 20] } }, Buffer.alloc(20)), /4 bytes before tensor "y"/],
    ['bytes left over', bytesOf({ x }, Buffer.alloc(9)), /1 bytes at its end/],
    ['metadata not strings', bytesOf({ __metadata__: { a: 1 }, x }, eight), /metadata "a" is not a string/],
  ]
  for (const [name, bytes, message] of cases) {
    writeFileSync(file, bytes)
    t.throws(() => readSafetensors(file), rejects(message), name)
  }
  t.throws(() => readSafetensors(`${file}.missing`), rejects(/cannot be opened/))
  t.throws(() => readSafetensors(join(file, '..')), rejects(/not a regular file/))
})

t.test('a failed write leaves the old file and nothing else', async (t) => {
  const dir = t.testdir({ 'a.safetensors': 'old', folder: {} })
  const file = join(dir, 'a.safetensors')
  scope(() => {
    const gone = Tensor.from([1], [1])
    gone.dispose()
    t.throws(() => writeSafetensors(file, [['a', gone]]), { code: 'ERR_ARGUMENT' })
    const a = Tensor.from([1], [1])
    t.throws(
      () =>
        writeSafetensors(file, [
          ['a', a],
          ['a', a],
        ]),
      { code: 'ERR_ARGUMENT', message: /given twice/ },
    )
    t.throws(() => writeSafetensors(join(file, 'b'), [['a', a]]), rejects(/folder/))
    t.throws(() => writeSafetensors(join(dir, 'folder'), [['a', a]]), rejects(/not a regular file/))
    t.throws(() => writeSafetensors('/proc/star.safetensors', [['a', a]]), rejects(/cannot be written/))
  })
  t.equal(readFileSync(file, 'utf8'), 'old')
  t.strictSame(readdirSync(dir).sort(), ['a.safetensors', 'folder'])
})

t.test('a link is followed, and a file in use can be replaced', async (t) => {
  const dir = t.testdir()
  const file = join(dir, 'a.safetensors')
  scope(() => {
    writeSafetensors(file, [['a', Tensor.from([1], [1])]])
    symlinkSync(file, join(dir, 'link'))
    const { tensors } = readSafetensors(file)
    writeSafetensors(join(dir, 'link'), [['a', Tensor.from([2], [1])]])
    t.equal(tensors.get('a')!.item(), 1)
    t.equal(readSafetensors(file).tensors.get('a')!.item(), 2)
  })
})

t.test('a header of a file that claims far more than it has is refused before anything is read', async (t) => {
  const file = join(t.testdir(), 'sparse.safetensors')
  const fd = openSync(file, 'w')
  ftruncateSync(fd, 2 ** 33)
  closeSync(fd)
  t.equal(statSync(file).size, 2 ** 33)
  t.throws(() => readSafetensors(file), rejects(/not JSON|valid/))
})
