/** Types of LMDB, mapped files and image resizing (native/binding/io.cc) in the addon. */
import type { DType, NativeTensor } from '../addon.js'

/** An open LMDB file of data format 1, checked when it was opened. */
export interface LmdbReader {
  /** A copy of the value; null when the key is not there. */
  get(key: Uint8Array): Uint8Array | null
  /** Where in the file the value lies, [offset, bytes], so that it can be read apart; null when the key is not there. */
  locate(key: Uint8Array): [number, number] | null
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

/**
 * Values by keys of 16 bytes on disk (an LMDB file and its lock file), used by several threads and processes at a time. What one has
 * added, all see at once.
 */
export interface RecordStore {
  /** A copy of the value; null when the key is not there. */
  get(key: Uint8Array): Uint8Array | null
  has(key: Uint8Array): boolean
  count(): number
  /**
   * Adds values, all or none; those whose key is there stay as they are. Then the oldest ones are removed, some at a time, until the
   * pages in use are at most `limit` bytes; the newest stay however small it is.
   */
  add(keys: readonly Uint8Array[], values: readonly Uint8Array[], limit: number): void
  close(): void
}

export interface IoOps {
  /** All bytes of a file as a u8 tensor on the CPU; the file is mapped, and writes to the tensor never reach it. */
  mapFile(path: string): NativeTensor
  /** The tensor `offset` bytes into a u8 tensor: shares its memory when aligned, is a copy otherwise. It is read ahead. */
  tensorAt(bytes: NativeTensor, offset: number, shape: readonly number[], dtype: DType): NativeTensor
  /**
   * Gives back the memory of a tensor's pages of a mapped file, which are read again when they are needed; what was written to
   * them is lost. Does nothing to other tensors.
   */
  dropPages(tensor: NativeTensor): void
  /**
   * Lanczos resize (a = 3, antialiased, columns first, rounded to 8 bits in between) of the window `[left, top, width, height]`
   * of an RGB picture, mirrored left to right if asked, on a thread of its own.
   */
  resizeLanczos(
    rgb: Uint8Array,
    size: readonly [width: number, height: number],
    window: readonly [left: number, top: number, width: number, height: number],
    to: readonly [width: number, height: number],
    mirrored: boolean,
  ): Promise<Uint8Array>
  LmdbReader: new (path: string) => LmdbReader
  LmdbWriter: new (path: string) => LmdbWriter
  RecordStore: new (path: string) => RecordStore
}
