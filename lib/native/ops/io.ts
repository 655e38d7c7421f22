import type { DType, NativeTensor } from '../addon.js'

/** An open LMDB file of data format 1, checked when it was opened. */
export interface LmdbReader {
  /** A copy of the value; null when the key is not there. */
  get(key: Uint8Array): Uint8Array | null
  /** All keys in the file's order. */
  keys(): Uint8Array[]
  count(): number
  close(): void
}

/** A new LMDB file; complete after `finish`. */
export interface LmdbWriter {
  put(key: Uint8Array, value: Uint8Array): void
  finish(): void
  close(): void
}

export interface IoOps {
  /** All bytes of a file as a u8 tensor on the CPU; the file is mapped, and writes to the tensor never reach it. */
  mapFile(path: string): NativeTensor
  /** The tensor `offset` bytes into a u8 tensor: shares its memory when aligned, is a copy otherwise. */
  tensorAt(bytes: NativeTensor, offset: number, shape: readonly number[], dtype: DType): NativeTensor
  LmdbReader: new (path: string) => LmdbReader
  LmdbWriter: new (path: string) => LmdbWriter
}
