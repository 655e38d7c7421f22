/** Writes checkpoints that PyTorch opens, torch.load(…, weights_only=True) included. */
import { basename } from 'node:path'
import { countOf, type DType, type Tensor } from '../tensor/index.js'
import { denseStrides } from './stored-tensor.js'
import { type WritableTensor, writables, writePartsSync } from './writable.js'
import { ZipWriter } from './zip-writer.js'

/** A tuple of Python, which does not equal a list of the same items. */
export class TorchTuple {
  constructor(readonly items: readonly TorchValue[]) {}
}

/** What a checkpoint may hold. A Map becomes an OrderedDict; numbers without a fraction become int, others float. */
export type TorchValue =
  | WritableTensor
  | number
  | string
  | boolean
  | null
  | TorchTuple
  | readonly TorchValue[]
  | ReadonlyMap<string | number, TorchValue>

const storageTypes: Record<DType, string> = {
  f32: 'FloatStorage',
  f16: 'HalfStorage',
  bf16: 'BFloat16Storage',
  i8: 'CharStorage',
  i32: 'IntStorage',
  u8: 'ByteStorage',
}

/** Pickle instructions of protocol 2, which is what torch.save writes. */
const ascii = (text: string): Buffer => Buffer.from(text, 'latin1')
const emptyDict = ascii('ccollections\nOrderedDict\n)R')

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  const head = ascii('X\0\0\0\0')
  head.writeUInt32LE(bytes.length, 1)
  return Buffer.concat([head, bytes])
}

function int(value: number): Buffer {
  const bytes = Math.abs(value) < 2 ** 31 ? ascii('J\0\0\0\0') : ascii('\x8a\x08\0\0\0\0\0\0\0\0')
  if (Math.abs(value) < 2 ** 31) bytes.writeInt32LE(value, 1)
  else bytes.writeBigInt64LE(BigInt(value), 2)
  return bytes
}

function float(value: number): Buffer {
  const bytes = ascii('G\0\0\0\0\0\0\0\0')
  bytes.writeDoubleBE(value, 1)
  return bytes
}

const tuple = (parts: readonly Buffer[]): Buffer => Buffer.concat([ascii('('), ...parts, ascii('t')])

/** _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks) */
function tensorCall(key: number, { dtype, shape }: WritableTensor): Buffer {
  const type = ascii(`ctorch\n${storageTypes[dtype]}\n`)
  const storage = tuple([text('storage'), type, text(String(key)), text('cpu'), int(countOf(shape))])
  const args = [
    Buffer.concat([storage, ascii('Q')]),
    int(0),
    tuple(shape.map(int)),
    tuple(denseStrides(shape).map(int)),
    ascii('\x89'),
    emptyDict,
  ]
  return Buffer.concat([ascii('ctorch._utils\n_rebuild_tensor_v2\n'), tuple(args), ascii('R')])
}

/** The pickle of a value; `tensors` collects those in it, whose storages have their places as keys. */
function pickled(value: TorchValue, tensors: WritableTensor[]): Buffer {
  const inner = (one: TorchValue): Buffer => pickled(one, tensors)
  if (value === null) return ascii('N')
  if (typeof value === 'boolean') return ascii(value ? '\x88' : '\x89')
  if (typeof value === 'number') return Number.isSafeInteger(value) ? int(value) : float(value)
  if (typeof value === 'string') return text(value)
  if (value instanceof TorchTuple) return tuple(value.items.map(inner))
  if (value instanceof Map) {
    const items = [...(value as ReadonlyMap<string | number, TorchValue>)].flatMap(([key, one]) => [
      inner(key),
      inner(one),
    ])
    return Buffer.concat([emptyDict, ascii('('), ...items, ascii('u')])
  }
  if (Array.isArray(value)) return Buffer.concat([ascii(']('), ...value.map(inner), ascii('e')])
  const tensor = value as WritableTensor
  return tensorCall(tensors.push(tensor) - 1, tensor)
}

/** The bytes of a checkpoint that holds the value. torch.save calls the folder inside after the file. */
export function* torchValueParts(value: TorchValue, file: string): Generator<Uint8Array> {
  const folder = basename(file).replace(/\.[^.]*$/, '') || 'archive'
  const tensors: WritableTensor[] = []
  const zip = new ZipWriter()
  yield* zip.add(`${folder}/data.pkl`, Buffer.concat([ascii('\x80\x02'), pickled(value, tensors), ascii('.')]))
  yield* zip.add(`${folder}/byteorder`, ascii('little'))
  for (const [key, tensor] of tensors.entries()) yield* zip.add(`${folder}/data/${key}`, tensor.read())
  yield* zip.add(`${folder}/version`, ascii('3\n'))
  yield zip.finish()
}

/** A dictionary in the order of the keys. */
export const torchDict = (entries: Readonly<Record<string, TorchValue>>): ReadonlyMap<string, TorchValue> =>
  new Map(Object.entries(entries))

/** Tensors by name, as a state dict holds them. */
export const torchStateDict = (tensors: readonly WritableTensor[]): ReadonlyMap<string, TorchValue> =>
  new Map(tensors.map((tensor) => [tensor.name, tensor]))

/**
 * Writes tensors (on any device) as the state dict of a PyTorch checkpoint in the zip form, in the order given. The file is
 * written beside its place and renamed.
 * @throws ERR_FILE when it cannot be written; ERR_ARGUMENT when a name is given twice
 */
export function writeTorch(file: string, tensors: Iterable<readonly [string, Tensor]>): void {
  writePartsSync(file, torchValueParts(torchStateDict(writables(tensors)), file))
}
