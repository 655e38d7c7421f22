/** Pictures that are handed out by address (`response_format: "url"`), for an hour or until newer ones need their room. */
import { randomBytes } from 'node:crypto'
import { HttpError } from '../http/errors.js'
import type { Operations } from '../http/operation.js'
import type { OutputFormat } from './image-schemas.js'

const lifetime = 3_600_000
const mostBytes = 128 << 20

interface Entry {
  bytes: Buffer
  format: OutputFormat
  expires: number
}

export class PictureStore {
  /** Oldest first. */
  readonly #entries = new Map<string, Entry>()
  #bytes = 0

  /** @returns the path under which the picture can be fetched; who does not know it cannot guess it */
  add(bytes: Buffer, format: OutputFormat): string {
    this.#drop(Date.now())
    const id = randomBytes(24).toString('base64url')
    this.#entries.set(id, { bytes, format, expires: Date.now() + lifetime })
    this.#bytes += bytes.length
    return `/v1/images/files/${id}`
  }

  get(id: string): Entry | undefined {
    this.#drop(Date.now())
    return this.#entries.get(id)
  }

  #drop(now: number): void {
    for (const [id, { bytes, expires }] of this.#entries) {
      if (expires > now && this.#bytes <= mostBytes) break
      this.#entries.delete(id)
      this.#bytes -= bytes.length
    }
  }
}

export function addPictureFiles(operations: Operations, store: PictureStore): void {
  operations.add(
    {
      method: 'GET',
      url: '/v1/images/files/:id',
      tag: 'Images',
      summary: 'A picture that was asked for by address',
      answer: 'image/*',
      statuses: [404],
      open: true,
    },
    async (_, request, reply) => {
      const found = store.get((request.params as { id: string }).id)
      if (!found) throw new HttpError(404, 'there is no such picture, or not any more', { code: 'not_found' })
      reply.type(`image/${found.format}`).header('cache-control', 'private, max-age=3600')
      return found.bytes
    },
  )
}
