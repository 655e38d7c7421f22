/**
 * Event files that TensorBoard reads: TFRecords of the protocol buffer `Event` (tensorboard/compat/proto/event.proto), of
 * which scalars, PNG images and the mark of a restart are written.
 */
import { appendFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { fileError } from '../../native/files.js'

/** CRC-32C (Castagnoli, reflected polynomial 0x82F63B78). */
const crcTable = Uint32Array.from({ length: 256 }, (_, i) => {
  let c = i
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1
  return c
})

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) crc = crcTable[(crc ^ byte) & 255] ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}

/** TFRecord's masked checksum: ((crc >> 15) | (crc << 17)) + 0xa282ead8. */
function maskedCrc(bytes: Uint8Array): Buffer {
  const crc = crc32c(bytes)
  const out = Buffer.alloc(4)
  out.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0)
  return out
}

/** Length, its checksum, data, its checksum. */
function tfRecord(data: Buffer): Buffer {
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(data.length))
  return Buffer.concat([length, maskedCrc(length), data, maskedCrc(data)])
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = BigInt(value)
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  bytes.push(Number(rest))
  return Buffer.from(bytes)
}

/** The parts of a protocol buffer message: field number with wire type, then the value. */
const field = {
  double(number: number, value: number): Buffer {
    const out = Buffer.alloc(9)
    out[0] = (number << 3) | 1
    out.writeDoubleLE(value, 1)
    return out
  },
  float(number: number, value: number): Buffer {
    const out = Buffer.alloc(5)
    out[0] = (number << 3) | 5
    out.writeFloatLE(value, 1)
    return out
  },
  int(number: number, value: number): Buffer {
    return Buffer.concat([Buffer.of(number << 3), varint(value)])
  },
  bytes(number: number, value: Buffer | string): Buffer {
    const body = typeof value === 'string' ? Buffer.from(value) : value
    return Buffer.concat([Buffer.of((number << 3) | 2), varint(body.length), body])
  },
}

export interface EventImage {
  width: number
  height: number
  png: Buffer
}

export class EventFile {
  readonly file: string
  #begun = false

  /**
   * @param folder where TensorBoard looks
   * @param restart the step that the run resumes from: what an earlier file holds of later steps is void
   */
  constructor(
    folder: string,
    private readonly restart: number | null,
  ) {
    const seconds = Math.floor(Date.now() / 1000)
    this.file = `${folder}/events.out.tfevents.${seconds}.${hostname()}.${process.pid}.${Math.floor(performance.now())}`
  }

  scalars(step: number, values: Readonly<Record<string, number>>): void {
    const parts = Object.entries(values).map(([tag, value]) =>
      field.bytes(1, Buffer.concat([field.bytes(1, tag), field.float(2, value)])),
    )
    if (parts.length > 0) this.#event(step, field.bytes(5, Buffer.concat(parts)))
  }

  image(step: number, tag: string, { width, height, png }: EventImage): void {
    const rgb = 3
    const image = [field.int(1, height), field.int(2, width), field.int(3, rgb), field.bytes(4, png)]
    const value = Buffer.concat([field.bytes(1, tag), field.bytes(4, Buffer.concat(image))])
    this.#event(step, field.bytes(5, field.bytes(1, value)))
  }

  #event(step: number, what: Buffer): void {
    const events = this.#begun ? [] : this.#beginning()
    events.push([field.int(2, step), what])
    const records = events.map((parts) => tfRecord(Buffer.concat([field.double(1, Date.now() / 1000), ...parts])))
    try {
      appendFileSync(this.file, Buffer.concat(records))
    } catch (error) {
      throw fileError('written', this.file, error)
    }
    this.#begun = true
  }

  #beginning(): Buffer[][] {
    const version = [field.bytes(3, 'brain.Event:2')]
    const start = 1
    return this.restart === null
      ? [version]
      : [version, [field.int(2, this.restart + 1), field.bytes(7, field.int(1, start))]]
  }
}
