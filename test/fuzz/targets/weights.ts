/** Weights: pickles by themselves and in sound archives, whole files of every kind, and indexes of shards. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pickle, unpickle } from '../../../lib/data/pickle.js'
import { scope } from '../../../lib/tensor/index.js'
import { openWeights } from '../../../lib/weights/index.js'
import { archive, checkpoint, dict, int, tensor, text } from '../../support/torch-archive.js'
import type { FuzzRun, FuzzTarget } from '../target.js'

const instructions = [
  ...[
    '\x80\x02',
    '}',
    ']',
    ')',
    '(',
    't',
    'R',
    'Q',
    'b',
    's',
    'u',
    '.',
    'N',
    '\x85',
    '\x86',
    '\x87',
    '\x93',
    '\x94',
    '\x95',
  ],
  ...['q\0', 'h\0', 'K\xff', 'J\xff\xff\xff\xff', 'G\x7f\xf0\0\0\0\0\0\0', '\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f'],
  ...['cos\nsystem\n', 'ctorch\nLongStorage\n', 'ccollections\nOrderedDict\n', 'ctorch._utils\n_rebuild_tensor_v2\n'],
  ...['ctorch\ndevice\n', 'ctorch\nSize\n', 'c_codecs\nencode\n', 'a', 'e', '0', '1', 'l', 'd'],
]
const containers = [
  ...['PK\x01\x02', 'PK\x03\x04', 'PK\x05\x06', 'PK\x06\x06', 'PK\x06\x07', '\x01\0\x18\0'],
  ...['{"a":', '"dtype":"F32"', '"shape":[1e18]', '"data_offsets":[0,8]', '__metadata__', '"BF16"', '"I64"', '"BOOL"'],
]

const a = { count: 6, shape: [2, 3], strides: [3, 1] }
const pickles = [
  dict({ a: tensor(a), b: tensor({ ...a, key: '1', shape: [3, 2], strides: [1, 3] }), n: int(2 ** 40), t: text('x') }),
  dict({
    list: `](${tensor(a)}${int(7)}e`,
    d: `}${text('in')}${tensor({ ...a, offset: 3, shape: [3], strides: [1] })}s`,
  }),
  `\x80\x04\x95\0\0\0\0\0\0\0\0\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R(\x8c\x01w${tensor(a)}u}${text('_metadata')}}sb.`,
  dict({ d: `ctorch\ndevice\n${text('cuda')}K\x01\x86R`, s: `ctorch\nSize\n(K\x01K\x02t\x85R` }),
].map((one) => Buffer.from(one, 'latin1'))
const storages = { 0: new Uint8Array(24), 1: new Uint8Array(24) }

function safetensors(): Buffer {
  const header = Buffer.from('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{"k":"v"}}      ')
  const length = Buffer.alloc(8)
  length.writeUInt32LE(header.length)
  return Buffer.concat([length, header, Buffer.alloc(8)])
}

function read(path: string): string {
  return scope(() => {
    using weights = openWeights(path)
    for (const one of weights.tensors().values()) one.data()
    return `read ${weights.format}`
  })
}

const parsers = [
  'lib/weights/torch-pickle.js',
  'lib/weights/state-dict.js',
  'lib/pickle/unpickle.js',
  'lib/pickle/source.js',
]

export const packPickle: FuzzTarget = {
  name: 'pickle',
  sources: ['lib/pickle/unpickle.js', 'lib/pickle/source.js'],
  pieces: instructions,
  seeds: () => [
    ...pickles,
    Buffer.from(pickle(['a', new Uint8Array([1, 2]), null, ['é']])),
    Buffer.from('(lp0\nVa\\u00e9\np1\naS.', 'latin1'),
    Buffer.from('\x80\x02c__builtin__\nset\n](X\x01\0\0\0aX\x01\0\0\0be\x85R.', 'latin1'),
  ],
  open: () => ({
    run: (input) => {
      unpickle(input)
      return 'read'
    },
  }),
}

export const torchPickle: FuzzTarget = {
  name: 'torch-pickle',
  sources: parsers,
  pieces: instructions,
  seeds: () => pickles,
  open: (scratch) => {
    const path = join(scratch, 'x.pth')
    return {
      run: (input) => {
        writeFileSync(path, checkpoint(input.toString('latin1'), storages))
        return read(path)
      },
    }
  },
}

export const weightsFile: FuzzTarget = {
  name: 'weights',
  sources: [
    ...parsers,
    'lib/weights/zip.js',
    'lib/weights/safetensors.js',
    'lib/weights/pytorch.js',
    'lib/weights/weights.js',
  ],
  pieces: [...instructions, ...containers],
  seeds: () => [
    checkpoint(pickles[0].toString('latin1'), storages),
    checkpoint(pickles[1].toString('latin1'), storages, { wide: true, comment: 'c' }),
    archive([['x/data.pkl', pickles[0]]]),
    safetensors(),
  ],
  open: (scratch) => {
    const path = join(scratch, 'x.pth')
    return {
      run: (input) => {
        writeFileSync(path, input)
        return read(path)
      },
    }
  },
}

export const shardIndex: FuzzTarget = {
  name: 'shard-index',
  sources: ['lib/weights/weights.js', 'lib/config/parse-config.js'],
  pieces: ['"weight_map"', '"a":', '"x-00001.safetensors"', '"../x-00001.safetensors"', '"total_size"'],
  seeds: () => [
    Buffer.from('{"metadata":{"total_size":8},"weight_map":{"a":"x-00001.safetensors"}}'),
    Buffer.from('{"weight_map":{"a":"x-00001.safetensors","b":"x-00001.safetensors"}}'),
  ],
  open: (scratch): FuzzRun => {
    mkdirSync(scratch, { recursive: true })
    writeFileSync(join(scratch, 'x-00001.safetensors'), safetensors())
    const path = join(scratch, 'x.index.json')
    return {
      run: (input) => {
        writeFileSync(path, input)
        return read(path)
      },
    }
  },
}
