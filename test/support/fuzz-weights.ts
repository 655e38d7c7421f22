/**
 * Damages weight files at random for some time and opens them: anything but weights or an ERR_FILE in one printable line, a crash, or
 * memory beyond a limit fails. One file for each kind of answer, the smallest, is kept as the corpus.
 * Arguments: seconds, corpus folder (read as seeds and written), first seed (default 1).
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { StarError } from '../../lib/native/index.js'
import { Random, scope } from '../../lib/tensor/index.js'
import { openWeights } from '../../lib/weights/index.js'
import { archive, checkpoint, dict, int, tensor, text } from './torch-archive.js'

const memoryLimit = 1.5e9
const slowest = 20_000

const [seconds, folder, seed = '1'] = process.argv.slice(2)
mkdirSync(folder, { recursive: true })
const scratch = mkdtempSync(join(tmpdir(), 'fuzz-'))
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }))
const path = join(scratch, 'x.pth')
const random = new Random(Number(seed))
const below = (n: number): number => Math.floor(random.next() * n)
const pick = <T>(items: readonly T[]): T => items[below(items.length)]

/** Pieces that mean something to a reader of pickles, archives or safetensors. */
const pieces: Buffer[] = [
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
  ...[
    'PK\x01\x02',
    'PK\x03\x04',
    'PK\x05\x06',
    'PK\x06\x06',
    'PK\x06\x07',
    '\xff\xff\xff\xff',
    '\0\0\0\0',
    '\x01\0\x18\0',
  ],
  ...['{"a":', '"dtype":"F32"', '"shape":[1e18]', '"data_offsets":[0,8]', '__metadata__'],
].map((piece) => Buffer.from(piece, 'latin1'))

function mutate(bytes: Buffer, others: readonly Buffer[]): Buffer {
  let out = Buffer.from(bytes)
  for (let n = 1 + below(4); n > 0; n--) {
    const at = below(out.length + 1)
    const end = Math.min(out.length, at + below(40))
    const kind = below(7)
    if (kind === 0 && at < out.length) out[at] ^= 1 << below(8)
    else if (kind === 1 && at < out.length) out[at] = pick([0, 1, 127, 128, 255])
    else if (kind === 2) out = Buffer.concat([out.subarray(0, at), pick(pieces), out.subarray(at)])
    else if (kind === 3) out = Buffer.concat([out.subarray(0, at), pick(pieces), out.subarray(end)])
    else if (kind === 4) out = Buffer.concat([out.subarray(0, at), out.subarray(end)])
    else if (kind === 5) out = Buffer.concat([out.subarray(0, end), out.subarray(at)])
    else {
      const other = pick(others)
      const from = below(other.length)
      out = Buffer.concat([out.subarray(0, at), other.subarray(from, from + below(60)), out.subarray(end)])
    }
  }
  return out
}

/** Pickles, which are put into sound archives, so that damage reaches the interpreter; and whole files. */
const a = { count: 6, shape: [2, 3], strides: [3, 1] }
const pickles = [
  dict({ a: tensor(a), b: tensor({ ...a, key: '1', shape: [3, 2], strides: [1, 3] }), n: int(2 ** 40), t: text('x') }),
  dict({
    list: `](${tensor(a)}${int(7)}e`,
    d: `}${text('in')}${tensor({ ...a, offset: 3, shape: [3], strides: [1] })}s`,
  }),
  `\x80\x04\x95\0\0\0\0\0\0\0\0\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R(\x8c\x01w${tensor(a)}u}${text('_metadata')}}sb.`,
].map((pickle) => Buffer.from(pickle, 'latin1'))
const storages = { 0: new Uint8Array(24), 1: new Uint8Array(24) }
const seeds = readdirSync(folder).map((name) => readFileSync(join(folder, name)))
const header = Buffer.from('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{"k":"v"}}      ')
const length = Buffer.alloc(8)
length.writeUInt32LE(header.length)
const files = [
  ...seeds,
  checkpoint(pickles[0].toString('latin1'), storages),
  checkpoint(pickles[1].toString('latin1'), storages, { wide: true, comment: 'c' }),
  archive([['x/data.pkl', pickles[0]]]),
  Buffer.concat([length, header, Buffer.alloc(8)]),
]

/** What became of a file, without its numbers and names. */
function answer(bytes: Buffer): string {
  writeFileSync(path, bytes)
  try {
    return scope(() => {
      using weights = openWeights(path)
      for (const one of weights.tensors().values()) one.data()
      return `read ${weights.format}`
    })
  } catch (error) {
    if (!(error instanceof StarError) || error.code !== 'ERR_FILE' || /\p{Cc}/u.test(error.message)) throw error
    return error.message
      .replaceAll(path, '')
      .replaceAll(/"(\\.|[^"\\])*"?|\(.*?\)|0x\w+|(?<=data\/|storage )\S+|\d+/g, '')
  }
}

const smallest = new Map<string, Buffer>()
const note = (kind: string, bytes: Buffer): void => {
  if (bytes.length < (smallest.get(kind)?.length ?? Number.POSITIVE_INFINITY)) smallest.set(kind, bytes)
}
const until = Date.now() + 1000 * Number(seconds)
let count = 0
for (const bytes of files) note(answer(bytes), bytes)
for (; Date.now() < until; count++) {
  const whole = below(2) === 0
  const bytes = whole
    ? mutate(pick(files), files)
    : checkpoint(mutate(pick(pickles), pickles).toString('latin1'), storages, { wide: below(8) === 0 })
  const begin = Date.now()
  try {
    const kind = answer(bytes)
    note(kind, bytes)
    if (whole && below(50) === 0 && files.length < 2000 && bytes.length < 10_000) files.push(bytes)
  } catch (error) {
    writeFileSync(join(folder, `crash-${seed}-${count}.bin`), bytes)
    throw error
  }
  const memory = process.memoryUsage.rss()
  if (memory > memoryLimit || Date.now() - begin > slowest) {
    writeFileSync(join(folder, `crash-${seed}-${count}.bin`), bytes)
    throw new Error(`case ${count}: ${memory} bytes of memory, ${Date.now() - begin} ms`)
  }
}
for (const [i, bytes] of [...smallest.values()].entries())
  writeFileSync(join(folder, `${String(i).padStart(2, '0')}.bin`), bytes)
console.log(
  JSON.stringify({ count, kinds: [...smallest.keys()].sort(), maxRSS: process.resourceUsage().maxRSS }, null, 2),
)
