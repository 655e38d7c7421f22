/** Weights from one file format and type into another, tensor by tensor: memory for one tensor is enough. */
import { extname } from 'node:path'
import { StarError } from '../native/index.js'
import { type DType, dequantizeRows, type HostArray, quantizeRows, scaleName, scope, Tensor } from '../tensor/index.js'
import { safetensorsParts, writeShards } from './safetensors-writer.js'
import type { ElementType } from './stored-tensor.js'
import { torchStateDict, torchValueParts } from './torch-writer.js'
import { openWeights, type Weights } from './weights.js'
import { byteSize, type WritableTensor, writeParts } from './writable.js'

export const floatTypes = ['f32', 'f16', 'bf16'] as const
/** A floating-point type of weights in files. */
export type FloatType = (typeof floatTypes)[number]

/** What of a file is converted, and into what. */
export interface ConvertOptions {
  /** Takes only what lies below this name: `trainer.var_wo_ddp`. */
  key?: string
  /** Type of floating-point tensors in the new file; default: as they are, F64 becomes f32. */
  dtype?: FloatType
  /** Matrices, by their names, that are written in 8 bits with their scales beside them; `dtype` is for the others. */
  int8?: (name: string) => boolean
  /** Metadata beside what the input has, where the new format has any. */
  metadata?: Readonly<Record<string, string>>
  /** Most bytes of a shard, where the output is a folder. */
  shardBytes?: number
  /** Aborting ends the conversion with ERR_ABORTED; nothing half-written stays. */
  signal?: AbortSignal
  /** Called after each tensor with the bytes written so far and in all. */
  onProgress?: (done: number, total: number) => void
}

/** A tensor of a conversion. */
export interface ConvertedTensor {
  /** As both files call it. */
  name: string
  /** Sizes of its dimensions. */
  shape: readonly number[]
  /** Element type in the file that was read. */
  from: ElementType
  /** Element type in the file that was written. */
  to: DType
}

/** What a conversion read and wrote. */
export interface Conversion {
  /** The file that was read. */
  input: string
  /** Files that were written. */
  outputs: string[]
  /** In the order of the file. */
  tensors: ConvertedTensor[]
  /** Size of what was written. */
  bytes: number
  /** Names of numbers and texts of a checkpoint, and of metadata, that the new file does not hold. */
  left: string[]
}

type OutputFormat = 'safetensors' | 'pytorch' | 'folder'

function outputFormat(path: string): OutputFormat {
  const extension = extname(path).toLowerCase()
  if (extension === '.safetensors') return 'safetensors'
  if (['.pth', '.pt', '.bin', '.ckpt'].includes(extension)) return 'pytorch'
  if (extension === '') return 'folder'
  throw new StarError(
    'ERR_ARGUMENT',
    `the output "${path}" has an unknown extension: name a .safetensors, .pth, .pt, .bin or .ckpt file, or a folder (without one)`,
  )
}

const isFloat = (dtype: DType): dtype is FloatType => (floatTypes as readonly DType[]).includes(dtype)

const ours: Record<ElementType, DType> = {
  ...{ F32: 'f32', F64: 'f32', F16: 'f16', BF16: 'bf16', U8: 'u8', BOOL: 'u8' },
  ...{ I8: 'i8', I16: 'i32', I32: 'i32', I64: 'i32', U16: 'i32', U32: 'i32', U64: 'i32' },
}

const bytesOf = (data: HostArray): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** Infinities and no numbers, by the bits of the exponent. */
function nonFinite({ dtype }: Tensor, data: ArrayLike<number>): number {
  let count = 0
  const mask = dtype === 'f16' ? 0x7c00 : 0x7f80
  for (let i = 0; i < data.length; i++)
    if (dtype === 'f32' ? !Number.isFinite(data[i]) : (data[i] & mask) === mask) count++
  return count
}

/** The elements in the new type. @throws ERR_DTYPE where finite values become infinite */
function cast(name: string, source: Tensor, dtype: DType): Uint8Array {
  if (source.dtype === dtype) return bytesOf(source.data())
  using target = Tensor.empty(source.shape, { dtype, device: 'cpu' })
  target.copyFrom(source)
  const data = target.data()
  const infinite = nonFinite(target, data)
  const overflows = infinite > 0 ? infinite - nonFinite(source, source.data()) : 0
  if (overflows > 0)
    throw new StarError(
      'ERR_DTYPE',
      `${overflows} values of "${name}" are too large for ${dtype} and would become infinite: convert to bf16 or f32`,
    )
  return bytesOf(data)
}

/** A tensor of the new file, and what it is made of. */
interface Planned extends ConvertedTensor {
  /** Name of the tensor that it is made of. */
  source: string
  made: (source: Tensor) => Uint8Array
}

/** What a tensor becomes: itself, in another type, an 8-bit matrix and its scales, or a matrix of a float type of those two. */
function planned(weights: Weights, { dtype, int8 }: ConvertOptions): Planned[] {
  const entries = Array.from(weights.entries)
  const types = new Map(entries.map(({ name, dtype }) => [name, dtype] as const))
  const scaled = (name: string): boolean => types.get(name) === 'I8' && types.has(scaleName(name))
  const scales = new Set(entries.flatMap(({ name }) => (scaled(name) ? [scaleName(name)] : [])))
  return entries.flatMap(({ name, shape, dtype: from }): Planned[] => {
    const kept = ours[from]
    const to = dtype && isFloat(kept) ? dtype : kept
    if (int8?.(name) && isFloat(kept) && shape.length === 2) {
      const part = (which: 'q' | 'scale') => (source: Tensor) =>
        scope(() => bytesOf(quantizeRows(source)[which].data()))
      return [
        { name, source: name, shape, from, to: 'i8', made: part('q') },
        { name: scaleName(name), source: name, shape: [shape[0]], from, to: 'f32', made: part('scale') },
      ]
    }
    if (dtype && scales.has(name)) return []
    if (dtype && scaled(name))
      return [
        {
          name,
          source: name,
          shape,
          from,
          to: dtype,
          made: (q) => scope(() => cast(name, dequantizeRows({ q, scale: weights.tensor(scaleName(name)) }), dtype)),
        },
      ]
    return [{ name, source: name, shape, from, to, made: (source) => cast(name, source, to) }]
  })
}

function plan(weights: Weights, options: ConvertOptions) {
  const { int8, signal, onProgress } = options
  const tensors = planned(weights, options)
  if (int8 && tensors.every(({ to }) => to !== 'i8'))
    throw new StarError(
      'ERR_ARGUMENT',
      `${weights.path} holds no matrix that is written in 8 bits: take the file of a transformer, or name what it lies below (key, --key)`,
    )
  const bytes = tensors.reduce((n, { shape, to }) => n + byteSize({ shape, dtype: to }), 0)
  let done = 0
  const parts = tensors.map(
    (tensor): WritableTensor => ({
      name: tensor.name,
      shape: tensor.shape,
      dtype: tensor.to,
      read: () => {
        signal?.throwIfAborted()
        using source = weights.tensor(tensor.source)
        const data = tensor.made(source)
        done += data.length
        onProgress?.(done, bytes)
        return data
      },
    }),
  )
  return { tensors: tensors.map(({ source: _, made: __, ...tensor }): ConvertedTensor => tensor), bytes, parts }
}

/**
 * Reads weights of any known format (`openWeights`) and writes them as `.safetensors`, `.pth` (`.pt`, `.bin`, `.ckpt`) or,
 * for a path without extension, as a folder of shards. Metadata is kept where both formats have it; numbers
 * and texts of a checkpoint are left out and named in the result.
 * @throws ERR_FILE when the input cannot be read or the output written, ERR_ARGUMENT for an unknown extension,
 * or where nothing can be written in 8 bits, ERR_DTYPE when a value does not fit the new type
 */
export async function convertWeights(input: string, output: string, options: ConvertOptions = {}): Promise<Conversion> {
  const format = outputFormat(output)
  const { key, shardBytes, signal } = options
  using weights = openWeights(input, { key })
  const { tensors, bytes, parts } = plan(weights, options)
  const metadata = { ...weights.metadata, ...options.metadata }
  let outputs = [output]
  if (format === 'folder') outputs = await writeShards(output, parts, { shardBytes, metadata, signal })
  else if (format === 'safetensors') await writeParts(output, safetensorsParts(parts, metadata), signal)
  else await writeParts(output, torchValueParts(torchStateDict(parts), output), signal)
  const left = [...weights.values.keys(), ...(format === 'pytorch' ? Object.keys(metadata) : [])]
  return { input: weights.path, outputs, tensors, bytes, left }
}
