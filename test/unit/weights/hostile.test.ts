/** Files that are valid as far as their format goes, and made to take time or memory, or to mislead. */
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { scope, zeros } from '../../../lib/tensor/index.js'
import { convertWeights } from '../../../lib/weights/convert.js'
import { openWeights, readSafetensors, writeSafetensors } from '../../../lib/weights/index.js'
import { checkpoint, dict, tensor, text } from '../../support/torch-archive.js'

const damaged = (message: RegExp) => ({ name: 'StarError', code: 'ERR_FILE', message })

t.test('torch.device takes a text and a number, nothing that could be joined', async (t) => {
  const path = join(t.testdir(), 'x.pth')
  const storages = { 0: new Uint8Array(24) }
  const a = tensor({ count: 6, shape: [2, 3], strides: [3, 1] })
  const open = (device: string) => {
    writeFileSync(path, checkpoint(dict({ a, device }), storages))
    using weights = openWeights(path)
    return weights.values.get('device')
  }
  const call = (args: string) => `ctorch\ndevice\n${args}R`
  t.equal(open(call(`${text('cuda')}K\x01\x86`)), 'cuda:1')
  t.equal(open(call(`${text('cpu')}\x85`)), 'cpu')
  const fit = damaged(/calls torch\.device with arguments that do not fit/)
  // Lists of lists of lists: each level holds the one below ten times, which joined are 10²⁰ texts.
  let doubled = `]${text('x')}a`
  for (let i = 0; i < 20; i++)
    doubled = `](${doubled}q${String.fromCharCode(i)}${`h${String.fromCharCode(i)}`.repeat(9)}e`
  t.throws(() => open(call(`${doubled}\x85`)), fit)
  t.throws(() => open(call(`${']'.repeat(100_000)}${'a'.repeat(99_999)}\x85`)), fit)
  t.throws(() => open(`${']'.repeat(100_000)}${'a'.repeat(99_999)}`), damaged(/nested more than 64 deep/))
})

t.test('the protocol of an old checkpoint is a number', async (t) => {
  const path = join(t.testdir(), 'x.pth')
  const magic = '\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.'
  writeFileSync(path, Buffer.from(`${magic}\x80\x02${']'.repeat(100_000)}${'a'.repeat(99_999)}.`, 'latin1'))
  t.throws(() => openWeights(path), damaged(/its protocol is no number, expected 1001/))
})

t.test('a key that stands twice in a header of safetensors', async (t) => {
  const path = join(t.testdir(), 'x.safetensors')
  const write = (header: string, bytes: number) => {
    const length = Buffer.alloc(8)
    length.writeUInt32LE(Buffer.byteLength(header))
    writeFileSync(path, Buffer.concat([length, Buffer.from(header), Buffer.alloc(bytes)]))
  }
  const at = (begin: number) => `{"dtype":"F32","shape":[1],"data_offsets":[${begin},${begin + 4}]}`
  write(`{"a":${at(0)},"a":${at(0)}}`, 4)
  t.throws(() => readSafetensors(path), damaged(/its header has the key "a" twice in one object/))
  write(`{"a":${at(0)},"\\u0061":${at(0)}}`, 4)
  t.throws(() => readSafetensors(path), damaged(/the key "a" twice/), 'written in another way')
  write('{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}', 4)
  t.throws(() => readSafetensors(path), damaged(/the key "shape" twice/))
  write(`{"a":${at(0)},"dtype":${at(4)},"__metadata__":{"a":"\\"a\\":","b":"}{"}}`, 8)
  scope(() => t.same([...readSafetensors(path).tensors.keys()], ['a', 'dtype'], 'the same key in other objects'))
})

t.test('a conversion into shards that fails leaves no file', async (t) => {
  const folder = t.testdir()
  const input = join(folder, 'in.safetensors')
  using small = zeros([4], { device: 'cpu' })
  using infinite = zeros([4], { device: 'cpu' })
  infinite.write(Float32Array.of(1e30, 0, 0, 0))
  writeSafetensors(input, [
    ['a', small],
    ['b', infinite],
  ])
  await t.rejects(convertWeights(input, join(folder, 'out'), { dtype: 'f16', shardBytes: 8 }), { code: 'ERR_DTYPE' })
  t.same(existsSync(join(folder, 'out')) ? readdirSync(join(folder, 'out')) : [], [])
  const done = await convertWeights(input, join(folder, 'out'), { shardBytes: 8 })
  t.equal(done.outputs.length, 3, 'two shards and the index')
})
