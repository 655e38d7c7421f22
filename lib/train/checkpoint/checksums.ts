/** CRC-32 of everything in a checkpoint, kept in its metadata: a file that a disk has changed is not taken for a whole one. */
import { crc32 } from 'node:zlib'
import { StarError } from '../../native/error.js'

interface Part {
  name: string
  read(): Uint8Array
}

/** JSON: name → checksum, and under `''` that of the other metadata. */
export function checksums(tensors: Iterable<Part>, metadata: Readonly<Record<string, string>>): string {
  const sums: Record<string, number> = { '': crc32(textOf(metadata)) }
  for (const { name, read } of tensors) sums[name] = crc32(read())
  return JSON.stringify(sums)
}

/**
 * Null where the text is no list of checksums, as damage to it leaves. Without a schema, whose library would be the larger part of what
 * the thread that saves checkpoints has to load.
 */
function parsed(text = ''): Map<string, unknown> | null {
  try {
    const sums: unknown = JSON.parse(text)
    return typeof sums === 'object' && sums !== null ? new Map(Object.entries(sums)) : null
  } catch {
    return null
  }
}

const textOf = (metadata: Readonly<Record<string, string>>): string =>
  JSON.stringify(
    Object.entries(metadata)
      .filter(([key]) => key !== 'checksums')
      .sort(),
  )

/** @throws ERR_FILE naming the first part that is not what was written */
export function verifyChecksums(
  file: string,
  tensors: Iterable<Part>,
  metadata: Readonly<Record<string, string>>,
): void {
  const fail = (what: string): never => {
    throw new StarError('ERR_FILE', `${file} is damaged: ${what} is not what was written; remove it`)
  }
  const sums = parsed(metadata.checksums) ?? fail('its list of checksums')
  if (sums.get('') !== crc32(textOf(metadata))) fail('its metadata')
  const names = new Set([
    '',
    ...Array.from(tensors, ({ name, read }) => (sums.get(name) === crc32(read()) ? name : fail(name))),
  ])
  const lost = [...sums.keys()].find((name) => !names.has(name))
  if (lost !== undefined) fail(lost)
}
