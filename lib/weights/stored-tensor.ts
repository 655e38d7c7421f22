/** Tensors as files hold them: where their bytes lie in the mapped file, and how they become tensors of ours. */
import { type NativeTensor, native, quoted, StarError } from '../native/index.js'
import { countOf, type DType, type HostArray, Tensor } from '../tensor/index.js'

/** Bytes of one element, by the names that safetensors gives the types. */
export const elementSizes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
} as const
/** An element type of weights in files, as safetensors calls it. */
export type ElementType = keyof typeof elementSizes

/** Types that are read as they are. */
const direct: Partial<Record<ElementType, DType>> = {
  F32: 'f32',
  F16: 'f16',
  BF16: 'bf16',
  I32: 'i32',
  U8: 'u8',
  I8: 'i8',
  BOOL: 'u8',
}
/** The type a tensor is written as. */
export const elementTypes: Record<DType, ElementType> = {
  f32: 'F32',
  f16: 'F16',
  bf16: 'BF16',
  i32: 'I32',
  u8: 'U8',
  i8: 'I8',
}

export const isElementType = (name: string): name is ElementType => Object.hasOwn(elementSizes, name)

export const maxRank = 8

export interface StoredTensor {
  name: string
  dtype: ElementType
  shape: readonly number[]
  /** The file, for error messages. */
  file: string
  /** All bytes of the file, u8. */
  map: NativeTensor
  /** First byte of the first element. */
  begin: number
  /** Distance between neighbours along each dimension, in elements; null for a dense row-major tensor. */
  strides: readonly number[] | null
}

/** A copy of the bytes [begin, end) of a mapped file. */
export function bytesOf(map: NativeTensor, begin: number, end: number): ArrayBuffer {
  const part = native.tensorAt(map, begin, [end - begin], 'u8')
  try {
    return part.read()
  } finally {
    part.release()
  }
}

/** Integers that fit 32 bits, from a wider type. */
function narrow<T extends BigInt64Array | BigUint64Array | Uint32Array>(stored: StoredTensor, wide: T): Int32Array {
  const out = new Int32Array(wide.length)
  for (let i = 0; i < wide.length; i++) {
    const value = Number(wide[i])
    if (value !== (value | 0))
      throw new StarError(
        'ERR_FILE',
        `${stored.file}: tensor ${quoted(stored.name)} holds ${wide[i]} at index ${i}, which does not fit the i32 that ` +
          `${stored.dtype} is read as. Save it with smaller values or leave it out`,
      )
    out[i] = value
  }
  return out
}

/** Elements on the host. Types without a tensor dtype: integers become i32, F64 becomes f32. */
function hostArray(stored: StoredTensor, bytes: ArrayBuffer): HostArray {
  switch (stored.dtype) {
    case 'F32':
      return new Float32Array(bytes)
    case 'F16':
    case 'BF16':
      return new Uint16Array(bytes)
    case 'I32':
      return new Int32Array(bytes)
    case 'U8':
    case 'BOOL':
      return new Uint8Array(bytes)
    case 'I8':
      return new Int8Array(bytes)
    case 'I16':
      return Int32Array.from(new Int16Array(bytes))
    case 'U16':
      return Int32Array.from(new Uint16Array(bytes))
    case 'U32':
      return narrow(stored, new Uint32Array(bytes))
    case 'I64':
      return narrow(stored, new BigInt64Array(bytes))
    case 'U64':
      return narrow(stored, new BigUint64Array(bytes))
    case 'F64':
      return Float32Array.from(new Float64Array(bytes))
  }
}

/** Distances between neighbours of a dense row-major tensor, in elements. */
export function denseStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length)
  let step = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step
    step *= shape[i]
  }
  return strides
}

/** Elements after the first that a strided tensor reaches, or −1 where it has none. */
export function reachOf(shape: readonly number[], strides: readonly number[]): number {
  return countOf(shape) === 0 ? -1 : shape.reduce((sum, d, i) => sum + (d - 1) * strides[i], 0)
}

/** Copies elements that lie `strides` apart into a dense array. */
function gather<T extends Uint8Array | Uint16Array | Uint32Array | BigUint64Array>(
  to: T,
  from: T,
  shape: readonly number[],
  strides: readonly number[],
): void {
  const last = shape.length - 1
  const columns = shape[last]
  const step = strides[last]
  const index = new Array<number>(last).fill(0)
  for (let at = 0; at < to.length; at += columns) {
    let source = index.reduce((sum, n, i) => sum + n * strides[i], 0)
    for (let j = 0; j < columns; j++, source += step) to[at + j] = from[source]
    for (let i = last - 1; i >= 0 && ++index[i] === shape[i]; i--) index[i] = 0
  }
}

function denseBytes(stored: StoredTensor, strides: readonly number[]): ArrayBuffer {
  const { dtype, shape, map, begin } = stored
  const size = elementSizes[dtype]
  const from = bytesOf(map, begin, begin + (reachOf(shape, strides) + 1) * size)
  const to = new ArrayBuffer(countOf(shape) * size)
  if (size === 1) gather(new Uint8Array(to), new Uint8Array(from), shape, strides)
  else if (size === 2) gather(new Uint16Array(to), new Uint16Array(from), shape, strides)
  else if (size === 4) gather(new Uint32Array(to), new Uint32Array(from), shape, strides)
  else gather(new BigUint64Array(to), new BigUint64Array(from), shape, strides)
  return to
}

/**
 * The tensor. F32, F16, BF16, I32, U8 and I8 keep their type, BOOL becomes u8, other integers become i32 (each value is checked
 * to fit) and F64 becomes f32. On the CPU a dense tensor of the first group is the file itself, mapped.
 * @throws ERR_FILE when a value does not fit
 */
export function readStored(stored: StoredTensor, device = 'cpu'): Tensor {
  const { dtype, shape, map, begin, strides } = stored
  const kept = direct[dtype]
  if (strides || !kept) {
    const bytes = strides
      ? denseBytes(stored, strides)
      : bytesOf(map, begin, begin + countOf(shape) * elementSizes[dtype])
    return Tensor.from(hostArray(stored, bytes), shape, { dtype: kept, device })
  }
  const view = native.tensorAt(map, begin, shape, kept)
  if (device === 'cpu') return new Tensor(view)
  const moved = native.empty(shape, kept, device)
  native.copy(moved, view)
  view.release()
  return new Tensor(moved)
}
