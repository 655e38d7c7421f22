import type { DType, NativeTensor } from '../addon.js'

export interface IoOps {
  /** All bytes of a file as a u8 tensor on the CPU; the file is mapped, and writes to the tensor never reach it. */
  mapFile(path: string): NativeTensor
  /** The tensor `offset` bytes into a u8 tensor: shares its memory when aligned, is a copy otherwise. */
  tensorAt(bytes: NativeTensor, offset: number, shape: readonly number[], dtype: DType): NativeTensor
}
