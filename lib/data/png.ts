/** Writing of PNG files with text chunks, and reading of those texts (PNG specification, third edition, W3C). */
import { crc32, deflateSync } from 'node:zlib'
import { StarError } from '../native/error.js'

const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
const channels = 3

export interface PngImage {
  width: number
  height: number
  /** R, G, B bytes of each pixel, row by row from the top. */
  data: Uint8Array
  /** Keyword (1 to 79 Latin-1 characters) → text, in order. */
  text?: Readonly<Record<string, string>>
}

function chunk(type: string, body: Uint8Array): Buffer {
  const out = Buffer.alloc(12 + body.length)
  out.writeUInt32BE(body.length, 0)
  out.write(type, 4, 'latin1')
  out.set(body, 8)
  out.writeUInt32BE(crc32(out.subarray(4, 8 + body.length)), 8 + body.length)
  return out
}

/** tEXt for plain ASCII, which every reader knows; iTXt (UTF-8, not compressed) for the rest. */
function textChunk(keyword: string, text: string): Buffer {
  if (!/^[\x21-\x7e](?:[\x20-\x7e]{0,77}[\x21-\x7e])?$/.test(keyword))
    throw new StarError(
      'ERR_ARGUMENT',
      `encodePng: the keyword ${JSON.stringify(keyword)} is not 1 to 79 printable ASCII characters`,
    )
  if (/^[\n\x20-\x7e]*$/.test(text)) return chunk('tEXt', Buffer.from(`${keyword}\0${text}`, 'latin1'))
  // A zero byte ends nothing in iTXt's text but is not allowed there.
  return chunk('iTXt', Buffer.from(`${keyword}\0\0\0\0\0${text.replaceAll('\0', ' ')}`, 'utf8'))
}

function paeth(a: number, b: number, c: number): number {
  const p = a + b - c
  const pa = Math.abs(p - a)
  const pb = Math.abs(p - b)
  const pc = Math.abs(p - c)
  return pa <= pb && pa <= pc ? a : pb <= pc ? b : c
}

/** What each filter predicts from the byte to the left, above, and above left. */
const predictors: ((a: number, b: number, c: number) => number)[] = [
  () => 0,
  (a) => a,
  (_, b) => b,
  (a, b) => (a + b) >> 1,
  paeth,
]

/** Every row with the filter whose differences are smallest in sum, the usual choice for pictures. */
function filtered(data: Uint8Array, stride: number, height: number): Buffer {
  const out = Buffer.alloc((stride + 1) * height)
  const attempt = Buffer.alloc(stride)
  const zeros = new Uint8Array(stride)
  for (let y = 0; y < height; y++) {
    const row = data.subarray(y * stride, (y + 1) * stride)
    const above = y > 0 ? data.subarray((y - 1) * stride, y * stride) : zeros
    let best = Number.POSITIVE_INFINITY
    predictors.forEach((predict, filter) => {
      let cost = 0
      for (let i = 0; i < stride; i++) {
        const a = i < channels ? 0 : row[i - channels]
        const c = i < channels ? 0 : above[i - channels]
        const difference = (row[i] - predict(a, above[i], c)) & 255
        attempt[i] = difference
        cost += difference < 128 ? difference : 256 - difference
      }
      if (cost >= best) return
      best = cost
      out[y * (stride + 1)] = filter
      out.set(attempt, y * (stride + 1) + 1)
    })
  }
  return out
}

/**
 * An RGB picture of 8 bits a channel as a PNG file. The same picture and texts give the same bytes.
 * @throws ERR_ARGUMENT when sizes and data do not agree or a keyword is not allowed
 */
export function encodePng({ width, height, data, text = {} }: PngImage): Buffer {
  if (width < 1 || height < 1 || data.length !== width * height * channels)
    throw new StarError(
      'ERR_ARGUMENT',
      `encodePng: ${data.length} bytes for ${width} × ${height} pixels, expected ${width * height * channels}`,
    )
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  // 8 bits a channel, colour type 2 (RGB), deflate, adaptive filters, no interlacing.
  header.set([8, 2, 0, 0, 0], 8)
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    ...Object.entries(text).map(([keyword, value]) => textChunk(keyword, value)),
    chunk('IDAT', deflateSync(filtered(data, width * channels, height), { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

/** Length of the signature and of the first chunk, IHDR. */
const headLength = 8 + 25

/** The same PNG file with text chunks behind its header. @throws ERR_ARGUMENT for a keyword that is not allowed */
export function withPngText(png: Buffer, text: Readonly<Record<string, string>>): Buffer {
  const chunks = Object.entries(text).map(([keyword, value]) => textChunk(keyword, value))
  return Buffer.concat([png.subarray(0, headLength), ...chunks, png.subarray(headLength)])
}

/** Texts of a PNG file (tEXt, and iTXt that is not compressed). @throws ERR_FILE when it is not a PNG or cut off */
export function readPngText(file: Uint8Array): Record<string, string> {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength)
  if (!bytes.subarray(0, 8).equals(signature))
    throw new StarError('ERR_FILE', 'this is not a PNG file: give one that was written by star')
  const texts: Record<string, string> = {}
  for (let at = 8; ; ) {
    const length = at + 8 <= bytes.length ? bytes.readUInt32BE(at) : 0
    if (at + 12 + length > bytes.length) throw new StarError('ERR_FILE', 'this PNG file is cut off: copy it again')
    const type = bytes.toString('latin1', at + 4, at + 8)
    const body = bytes.subarray(at + 8, at + 8 + length)
    if (type === 'IEND') return texts
    const end = body.indexOf(0)
    if (type === 'tEXt' && end > 0) texts[body.toString('latin1', 0, end)] = body.toString('latin1', end + 1)
    if (type === 'iTXt' && end > 0 && body[end + 1] === 0) {
      // Two flags, then language and translated keyword, each ended by a zero byte.
      const language = body.indexOf(0, end + 3)
      const translated = language < 0 ? -1 : body.indexOf(0, language + 1)
      if (translated >= 0) texts[body.toString('latin1', 0, end)] = body.toString('utf8', translated + 1)
    }
    at += 12 + length
  }
}
