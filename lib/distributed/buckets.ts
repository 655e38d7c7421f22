/** Tensors laid end to end in flat buffers of a few megabytes: what is exchanged at once. */
import { elementBytes } from '../native/dtype.js'
import { type DType, keep, Tensor, zeros } from '../tensor/index.js'

/** A tensor's elements [begin, end) of a bucket. */
export interface Place {
  /** Number of the tensor in the list that was laid out. */
  index: number
  begin: number
  end: number
}

/** A tensor to be laid out. */
export interface Content {
  count: number
  /** Of the exchanged elements. */
  dtype: DType
  /** Of the tensor itself. */
  stored: DType
}

export interface BucketPlan {
  places: Place[]
  dtype: DType
  stored: DType
  /** Elements, filled up to a whole multiple of what was asked for. */
  length: number
}

export interface BucketSizes {
  /** Bytes from which on a bucket is full. */
  bytes: number
  /** The same of the first one: the earlier it is full, the earlier the exchange starts. */
  firstBytes: number
  /** Every length is a multiple of it. */
  multiple: number
}

const mebibyte = 2 ** 20
/** Of the buckets of a training. */
export const standardSizes = { bytes: 25 * mebibyte, firstBytes: mebibyte }
/** Shards begin at whole vectors of 16 bytes, whatever the type: lengths are multiples of this for each process. */
export const shardAlignment = 8

/**
 * Lays tensors out in the order in which backward is through with them: about the reverse of the order in which forward
 * uses them. Tensors of different types never share a bucket; a bucket holds at least one whole tensor.
 */
export function planBuckets(tensors: readonly Content[], { bytes, firstBytes, multiple }: BucketSizes): BucketPlan[] {
  const done: BucketPlan[] = []
  const open = new Map<string, BucketPlan>()
  const close = (bucket: BucketPlan): void => {
    bucket.length = Math.ceil(bucket.length / multiple) * multiple
    done.push(bucket)
    open.delete(bucket.dtype + bucket.stored)
  }
  for (let index = tensors.length - 1; index >= 0; index--) {
    const { count, dtype, stored } = tensors[index]
    const bucket = open.get(dtype + stored) ?? { places: [], dtype, stored, length: 0 }
    open.set(dtype + stored, bucket)
    bucket.places.push({ index, begin: bucket.length, end: bucket.length + count })
    bucket.length += count
    if (bucket.length * elementBytes[dtype] >= (done.length === 0 ? firstBytes : bytes)) close(bucket)
  }
  for (const bucket of [...open.values()]) close(bucket)
  return done
}

/** A bucket's memory. */
export class Bucket {
  readonly flat: Tensor // (length)

  constructor(
    readonly plan: BucketPlan,
    device: string,
  ) {
    this.flat = keep(zeros([plan.length], { dtype: plan.dtype, device }))
  }

  get bytes(): number {
    return this.plan.length * elementBytes[this.plan.dtype]
  }

  /** Elements [begin, end) as a tensor on the same memory. */
  view(begin: number, end: number, shape: readonly number[] = [end - begin]): Tensor {
    return viewOf(this.flat, begin, end, shape)
  }

  dispose(): void {
    this.flat.dispose()
  }
}

/** Elements [begin, end) of a tensor, flattened, as a tensor of the given shape on the same memory; nobody's scope frees it. */
export function viewOf(tensor: Tensor, begin: number, end: number, shape: readonly number[] = [end - begin]): Tensor {
  const flat = tensor.handle.reshape([tensor.count])
  const piece = flat.slice(begin, end)
  const view = keep(new Tensor(piece.reshape(shape)))
  flat.release()
  piece.release()
  return view
}
