/** Tensors on their way into a file, and the two ways of writing one: at once, or in turns with everything else. */
import { closeSync, openSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { replaceFile, writeAll, writeFileAtomic } from '../native/files.js'
import { StarError } from '../native/index.js'
import { countOf, type DType, type Tensor } from '../tensor/index.js'
import { elementSizes, elementTypes } from './stored-tensor.js'

/** A tensor whose elements are made when it is their turn to be written. */
export interface WritableTensor {
  name: string
  shape: readonly number[]
  dtype: DType
  read(): Uint8Array
}

export const byteSize = ({ shape, dtype }: Pick<WritableTensor, 'shape' | 'dtype'>): number =>
  countOf(shape) * elementSizes[elementTypes[dtype]]

/** Tensors (on any device) by name. @throws ERR_ARGUMENT when a name is given twice */
export function writables(tensors: Iterable<readonly [string, Tensor]>): WritableTensor[] {
  const names = new Set<string>()
  return Array.from(tensors, ([name, tensor]) => {
    if (names.has(name))
      throw new StarError('ERR_ARGUMENT', `the name ${JSON.stringify(name)} of a tensor to be written is given twice`)
    names.add(name)
    const { shape, dtype } = tensor
    return { name, shape, dtype, read: () => new Uint8Array(tensor.handle.read()) }
  })
}

/** Writes the parts one after another, by rename. @throws ERR_FILE */
export function writePartsSync(file: string, parts: Iterable<Uint8Array>): void {
  writeFileAtomic(file, (fd) => {
    for (const part of parts) writeAll(fd, part)
  })
}

/**
 * As `writePartsSync`, but timers, signals and sockets get their turn after every part.
 * @throws ERR_FILE; the signal's reason once it fires, with nothing written
 */
export async function writeParts(file: string, parts: Iterable<Uint8Array>, signal?: AbortSignal): Promise<void> {
  await replaceFile(file, async (path) => {
    const fd = openSync(path, 'wx')
    try {
      for (const part of parts) {
        writeAll(fd, part)
        await setImmediate()
        signal?.throwIfAborted()
      }
    } finally {
      closeSync(fd)
    }
  })
}
