/** Arguments that no caller of the library gives: the addon answers with an error that names them, and the process lives. */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { native } from '../../../lib/native/index.js'

const filled = (shape: number[], data: NodeJS.TypedArray, dtype: 'f32' | 'i32' = 'f32') => {
  const tensor = native.empty(shape, dtype, 'cpu')
  tensor.write(data)
  return tensor
}
const zeros = (shape: number[]) => native.full(shape, 'f32', 'cpu', 0)
const shapeError = { name: 'StarError', code: 'ERR_SHAPE' }
const argumentError = { name: 'StarError', code: 'ERR_ARGUMENT' }

t.test('ids that changed after the forward pass are checked again in the backward pass', async (t) => {
  const ids = filled([2], Int32Array.of(0, 1), 'i32')
  const table = zeros([4, 3])
  native.embedding(table, ids)
  for (const bad of [2e9, -1, 4]) {
    ids.write(Int32Array.of(0, bad))
    t.throws(() => native.embeddingBackward(zeros([2, 3]), ids, 4), {
      ...argumentError,
      message: `embedding_backward: index ${bad} at position 1 lies outside the table of 4 rows`,
    })
  }
  t.throws(() => native.embeddingBackward(zeros([]), filled([], Int32Array.of(0), 'i32'), 4), shapeError)
  t.throws(() => native.embeddingBackward(zeros([2, 3]), zeros([2]), 4), { code: 'ERR_DTYPE' })
})

t.test('sizes whose product overflows, and sizes of nothing', async (t) => {
  const x = zeros([1, 2, 12])
  t.throws(() => native.heads(x, 2 ** 32, 2 ** 32, 0, false, null, null), shapeError)
  t.throws(() => native.nearestRow(zeros([3, 0]), zeros([2, 0])), shapeError)
  t.throws(() => native.softmaxBackward(zeros([]), zeros([]), 1), shapeError)
  const one = zeros([1])
  t.throws(
    () => native.layerNormBackward(zeros([]), zeros([]), one, one, null, [], false, true, false, false),
    shapeError,
  )
  t.throws(() => native.resample(zeros([0, 1, 1, 1]), 'bicubic', 2 ** 53 - 1, 1), shapeError)
  t.same(native.resample(zeros([0, 1, 1, 1]), 'bicubic', 2 ** 40, 1).shape(), [0, 2 ** 40, 1, 1])
  t.throws(() => native.empty([2 ** 40, 2 ** 40, 0], 'f32', 'cpu'), shapeError)
})

t.test('strides and paddings beyond any picture', async (t) => {
  const x = zeros([1, 4, 4, 1])
  const weight = zeros([1, 1, 2, 2])
  t.throws(() => native.conv2d(x, weight, null, 2 ** 53 - 1, [0, 0, 0, 0], 1), argumentError)
  t.throws(() => native.conv2d(x, weight, null, 1, [0, 0, 2 ** 53 - 1, 0], 1), argumentError)
})

t.test('a resized picture of gigabytes', async (t) => {
  const big = 1 << 20
  t.throws(() => native.resizeLanczos(new Uint8Array(3), [1, 1], [0, 0, 1, 1], [big, big], false), argumentError)
  t.throws(
    () => native.resizeLanczos(new Float64Array(3) as unknown as Uint8Array, [1, 1], [0, 0, 1, 1], [1, 1], false),
    argumentError,
  )
})

t.test('numbers of a process group', async (t) => {
  const connect = (size: number, port: number, ports: number, time: number) => () =>
    native.connectGroup('cpu', 0, 0, size, '127.0.0.1', port, ports, 'job', time)
  for (const call of [
    connect(1, 29_500, 0, 1),
    connect(1, 0, 1, 1),
    connect(2 ** 40, 29_500, 1, 1),
    connect(1, 29_500, 1, -1),
  ])
    t.throws(call, argumentError)
  t.throws(() => new native.StoreClient('127.0.0.1', 65_535, 2, 'job', 1), argumentError)
})

t.test('objects made by hand', async (t) => {
  const group = native.singleGroup()
  const Group = group.constructor as new () => typeof group
  const work = group.barrier()
  const Work = work.constructor as new () => typeof work
  t.throws(() => new Group().allReduce(zeros([1]), 'sum'), argumentError)
  t.throws(() => new Group().engine(), argumentError)
  new Group().close()
  t.throws(() => new Work().wait(), argumentError)
  t.throws(() => new Work().done(), argumentError)
  group.close()
})

t.test('a getter of an array that releases a tensor already read', async (t) => {
  const first = filled([1], Float32Array.of(1))
  const second = filled([1], Float32Array.of(2))
  const list = [first, second]
  Object.defineProperty(list, 1, {
    get: () => {
      first.release()
      native.trimMemory('cpu')
      return second
    },
  })
  t.same(new Float32Array(native.concat(list, 0).read()), [1, 2])
  t.throws(() => first.shape(), argumentError)

  const x = filled([2, 1], Float32Array.of(3, 4))
  const perm = [1, 0]
  Object.defineProperty(perm, 0, {
    get: () => {
      x.release()
      native.trimMemory('cpu')
      return 1
    },
  })
  t.same(new Float32Array(native.permute(x, perm).read()), [3, 4])

  const reshaped = filled([1], Float32Array.of(5))
  const shape = [1]
  Object.defineProperty(shape, 0, {
    get: () => {
      reshaped.release()
      return 1
    },
  })
  t.throws(() => reshaped.reshape(shape), argumentError)
})

t.test('lists without an end', async (t) => {
  const long: number[] = []
  long.length = 2 ** 32 - 1
  t.throws(() => native.empty(long, 'f32', 'cpu'), { ...argumentError, message: /expected 64 at most/ })
  t.throws(() => native.globalNorm(long as never), { ...argumentError, message: /expected 1048576 at most/ })
})

t.test('a mapped file that is shortened while it is in use', async (t) => {
  const path = join(t.testdir(), 'mapped.bin')
  writeFileSync(path, new Uint8Array(3 * 4096).fill(7))
  const file = native.mapFile(path)
  t.equal(new Uint8Array(file.read())[2 * 4096], 7)
  truncateSync(path, 4096)
  const shortened = { code: 'ERR_FILE', message: /mapped\.bin was shortened, or its disk failed, while it was in use/ }
  t.throws(() => file.read(), shortened)
  t.throws(() => native.tensorAt(file, 2 * 4096 + 1, [4], 'f32'), shortened)
  t.throws(() => native.cast(native.tensorAt(file, 8192, [4], 'f32'), 'f16'), shortened)
  file.release()
  writeFileSync(path, new Uint8Array(4096).fill(9))
  t.equal(new Uint8Array(native.mapFile(path).read())[4095], 9, 'mapped again it is whole')
})

/** Bytes of a mapped file that are in memory of this process, by the system's account. */
function residentBytes(path: string): number {
  const maps = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
  const own = maps.filter((map) => map.split('\n', 1)[0].endsWith(path))
  return own.reduce((sum, map) => sum + 1024 * Number(/^Rss: +(\d+) kB$/m.exec(map)?.[1] ?? 0), 0)
}

const linux = process.platform !== 'linux' && 'it needs /proc'

t.test('pages of a mapped file are given back, and read again', { skip: linux }, async (t) => {
  const path = join(t.testdir(), 'mapped.bin')
  const size = 1 << 20
  writeFileSync(
    path,
    Uint8Array.from({ length: size }, (_, i) => i % 251),
  )
  const file = native.mapFile(path)
  const whole = native.tensorAt(file, 0, [size], 'u8')
  const part = native.tensorAt(file, 100, [size / 2], 'u8')
  const expected = new Uint8Array(whole.read())
  t.equal(residentBytes(path), size)
  native.dropPages(part)
  // Pages at the edges that belong to other tensors too stay.
  t.ok(residentBytes(path) <= size / 2 + 2 * 65536, `${residentBytes(path)} bytes`)
  t.same(new Uint8Array(part.read()), expected.subarray(100, 100 + size / 2))
  native.dropPages(whole)
  t.equal(residentBytes(path), 0)
  t.ok(Buffer.from(expected).equals(new Uint8Array(whole.read())))
  const own = native.full([1 << 16], 'f32', 'cpu', 3)
  native.dropPages(own)
  t.ok(
    new Float32Array(own.read()).every((value) => value === 3),
    'other tensors keep their values',
  )
  for (const tensor of [file, whole, part, own]) tensor.release()
})

t.test('an LMDB file that is shortened while it is open', async (t) => {
  const path = join(t.testdir(), 'data.lmdb')
  const writer = new native.LmdbWriter(path)
  for (let i = 0; i < 400; i++) writer.put(Buffer.from(`key ${i}`), new Uint8Array(3000).fill(i))
  writer.finish()
  writer.close()
  const reader = new native.LmdbReader(path)
  t.ok(reader.get(Buffer.from('key 399')))
  truncateSync(path, 3 * 4096)
  t.throws(
    () => {
      for (let i = 0; i < 400; i++) reader.get(Buffer.from(`key ${i}`))
    },
    { code: 'ERR_FILE', message: /data\.lmdb was shortened, or its disk failed/ },
  )
  reader.close()
})

t.test('a record store takes keys of 16 bytes, a value for each', async (t) => {
  const path = join(t.testdir(), 'records.lmdb')
  const store = new native.RecordStore(path)
  const key = new Uint8Array(16)
  t.throws(() => store.get(new Uint8Array(15)), { code: 'ERR_ARGUMENT', message: /key has 15 bytes, expected 16/ })
  t.throws(() => store.add([key], [], 1e6), { code: 'ERR_ARGUMENT', message: /1 keys were given with 0 values/ })
  t.throws(() => store.add([key], ['text' as never], 1e6), { message: /values must be a Uint8Array/ })
  t.throws(() => store.add([key], [key], -1), { code: 'ERR_ARGUMENT', message: /limit/ })
  t.equal(store.count(), 0, 'nothing was added by a call that failed')
  store.add([key, key], [Buffer.from('first'), Buffer.from('second')], 1e6)
  t.equal(store.count(), 1)
  t.same(Buffer.from(store.get(key)!), Buffer.from('first'))
  store.close()
  t.throws(() => store.count(), { code: 'ERR_ARGUMENT', message: /used after it was closed/ })
  t.throws(() => new native.RecordStore(join(path, 'none')), { code: 'ERR_FILE', message: /none cannot be opened/ })
})

t.test('more memory than the machine has is an error with a remedy, and the next call works', async (t) => {
  const bytes = 2 ** 44
  t.throws(() => native.full([bytes / 4], 'f32', 'cpu', 1), {
    code: 'ERR_MEMORY',
    message: /out of memory: 17592186044416 bytes asked for, \d+ in use by tensors, \d+ available; use a smaller batch/,
  })
  t.same(new Float32Array(native.full([1], 'f32', 'cpu', 1).read()), [1])
})
