/** Tensor: a dense row-major array on one device, with its place on the autograd tape. */

import { type DType, elementBytes } from '../native/dtype.js'
import { type NativeTensor, native, StarError } from '../native/index.js'
import { tensorMark, track, untrack } from './scope.js'
import type { Edge } from './tape.js'

export type { DType } from '../native/dtype.js'
export type Shape = readonly number[]
export type HostArray = Float32Array | Int32Array | Uint8Array | Int8Array | Uint16Array

const finalizers = new FinalizationRegistry<NativeTensor>((handle) => handle.release())

const dtypeOfArray = (data: HostArray): DType =>
  data instanceof Float32Array
    ? 'f32'
    : data instanceof Int32Array
      ? 'i32'
      : data instanceof Uint8Array
        ? 'u8'
        : data instanceof Int8Array
          ? 'i8'
          : 'f16'

let defaultDevice = 'cpu'
/** Device of tensors made without naming one. */
export function getDefaultDevice(): string {
  return defaultDevice
}
export function setDefaultDevice(device: string): void {
  defaultDevice = device
}

export const countOf = (shape: Shape): number => shape.reduce((n, d) => n * d, 1)

export interface TensorOptions {
  dtype?: DType
  device?: string
  /** Gradients are wanted for this tensor: backward adds them to `.grad`. */
  requiresGrad?: boolean
}

export class Tensor {
  readonly [tensorMark] = true
  readonly shape: Shape
  readonly device: string
  /** Leaf tensors only: the sum of gradients since the last zeroGrad, owned by this tensor. */
  grad: Tensor | null = null
  requiresGrad = false
  /** Slot on the tape for gradients of this tensor; null when none are wanted. Set by the tape. */
  edge: Edge | null = null
  #handle: NativeTensor | null
  #dtype: DType

  /** Wraps a native handle, which this tensor owns from now on. */
  constructor(handle: NativeTensor) {
    this.#handle = handle
    this.shape = handle.shape()
    this.#dtype = handle.dtype()
    this.device = handle.device()
    finalizers.register(this, handle, this)
    track(this)
  }

  /** Copies host data. f16 and bf16 take their bit patterns in a Uint16Array. */
  static from(data: HostArray | readonly number[], shape: Shape, options: TensorOptions = {}): Tensor {
    const array = Array.isArray(data)
      ? options.dtype === 'i32'
        ? Int32Array.from(data)
        : options.dtype === 'u8'
          ? Uint8Array.from(data)
          : options.dtype === 'i8'
            ? Int8Array.from(data)
            : Float32Array.from(data)
      : (data as HostArray)
    const tensor = Tensor.empty(shape, { ...options, dtype: options.dtype ?? dtypeOfArray(array) })
    tensor.handle.write(array)
    return tensor
  }

  /** Memory whose content is undefined. */
  static empty(shape: Shape, options: TensorOptions = {}): Tensor {
    const tensor = new Tensor(native.empty(shape, options.dtype ?? 'f32', options.device ?? defaultDevice))
    tensor.requiresGrad = options.requiresGrad ?? false
    return tensor
  }

  /** The native handle. @throws ERR_ARGUMENT after dispose */
  get handle(): NativeTensor {
    if (!this.#handle)
      throw new StarError('ERR_ARGUMENT', `a tensor of shape (${this.shape.join(', ')}) was used after it was disposed`)
    return this.#handle
  }

  get dtype(): DType {
    return this.#dtype
  }

  get disposed(): boolean {
    return this.#handle === null
  }

  get count(): number {
    return countOf(this.shape)
  }

  get bytes(): number {
    return this.count * elementBytes[this.dtype]
  }

  get rank(): number {
    return this.shape.length
  }

  /** Size of dimension `i`; negative counts from the end. */
  dim(i: number): number {
    return this.shape[i < 0 ? i + this.shape.length : i]
  }

  /** A copy of the elements on the host (f16 and bf16 as bit patterns). */
  data(): HostArray {
    const buffer = this.handle.read()
    switch (this.dtype) {
      case 'f32':
        return new Float32Array(buffer)
      case 'i32':
        return new Int32Array(buffer)
      case 'u8':
        return new Uint8Array(buffer)
      case 'i8':
        return new Int8Array(buffer)
      default:
        return new Uint16Array(buffer)
    }
  }

  /** The elements of an f32 tensor. @throws ERR_DTYPE for other types */
  floats(): Float32Array {
    if (this.dtype !== 'f32') throw new StarError('ERR_DTYPE', `floats: the tensor is ${this.dtype}, expected f32`)
    return this.data() as Float32Array
  }

  /** The elements of an i32 tensor. @throws ERR_DTYPE for other types */
  ints(): Int32Array {
    if (this.dtype !== 'i32') throw new StarError('ERR_DTYPE', `ints: the tensor is ${this.dtype}, expected i32`)
    return this.data() as Int32Array
  }

  /** The only element, as a number whatever its type. @throws ERR_SHAPE when there are more */
  item(): number {
    if (this.count !== 1)
      throw new StarError('ERR_SHAPE', `item: the tensor has shape (${this.shape.join(', ')}), expected one element`)
    if (this.dtype !== 'f16' && this.dtype !== 'bf16') return this.data()[0]
    const wide = native.cast(this.handle, 'f32')
    const [value] = new Float32Array(wide.read())
    wide.release()
    return value
  }

  /** Another tensor on the same memory, without a place on the tape. */
  detach(): Tensor {
    return new Tensor(this.handle.alias())
  }

  /** Overwrites the elements in place. The tape does not see it. */
  write(data: HostArray): void {
    this.handle.write(data)
  }

  /** Overwrites the elements with those of a tensor of the same shape, on any device and of any type, cast to this one's. */
  copyFrom(source: Tensor): void {
    if (source.dtype === this.dtype || source.device === this.device) native.copy(this.handle, source.handle)
    else {
      const converted = native.cast(source.handle, this.dtype)
      native.copy(this.handle, converted)
      converted.release()
    }
  }

  /**
   * Gives this tensor another element type: whoever holds it sees the rounded elements from now on. For weights between
   * steps; the tape does not see it.
   * @returns the elements as they were, as a tensor of their own
   */
  convert(dtype: DType): Tensor {
    const converted = native.cast(this.handle, dtype)
    const before = new Tensor(this.handle)
    this.#handle = converted
    this.#dtype = dtype
    finalizers.unregister(this)
    finalizers.register(this, converted, this)
    return before
  }

  /** Frees the memory unless another tensor shares it. Twice is harmless. */
  dispose(): void {
    if (!this.#handle) return
    finalizers.unregister(this)
    this.#handle.release()
    this.#handle = null
    untrack(this)
    this.grad?.dispose()
    this.grad = null
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
