/** Pictures that come from a client: what they were made with, and the same in another format. */
import sharp from 'sharp'
import { z } from 'zod'
import { type ImageSettings, Star, StarError, StarImage } from '../../index.js'
import { HttpError } from '../http/errors.js'
import type { Operations } from '../http/operation.js'

/** Largest picture file that is taken, in bytes. */
export const pictureLimit = 16 << 20
/** Most pixels of one. */
const pixelLimit = 4096 * 4096
export const mediaTypes = ['image/png', 'image/jpeg', 'image/webp', 'image/avif']
const formats = ['png', 'jpeg', 'webp', 'avif'] as const

/** @throws 400 where the bytes are no picture of ours */
export async function settingsOf(body: unknown): Promise<ImageSettings> {
  if (!(body instanceof Uint8Array) || body.length === 0)
    throw new HttpError(400, 'the body is empty: send the bytes of a picture', { code: 'invalid_value' })
  try {
    return await Star.settingsOf(body)
  } catch (error) {
    if (error instanceof StarError) throw new HttpError(400, error.message, { code: 'no_settings' })
    throw error
  }
}

/** @throws 400 where it has more pixels than the limit, or is damaged */
async function decoded(bytes: Buffer, settings: ImageSettings): Promise<StarImage> {
  try {
    const { data, info } = await sharp(bytes, { limitInputPixels: pixelLimit })
      .removeAlpha()
      .toColourspace('srgb')
      .raw()
      .toBuffer({ resolveWithObject: true })
    return new StarImage(info.width, info.height, data, settings)
  } catch {
    throw new HttpError(400, `the picture is damaged, or has more than ${pixelLimit} pixels`, { code: 'invalid_image' })
  }
}

const settingsAnswer = z.looseObject({
  prompt: z.string(),
  seed: z.int(),
  cfg: z.number(),
  topK: z.int(),
  topP: z.number(),
  model: z.string(),
})

export function addPictures(operations: Operations): void {
  const taken = { tag: 'Images', bytes: mediaTypes, limit: pictureLimit, statuses: [400, 413, 415] }
  operations.add(
    {
      method: 'POST',
      url: '/v1/images/settings',
      summary: 'What a picture of ours was made with',
      answer: settingsAnswer,
      ...taken,
    },
    (_, request) => settingsOf(request.body),
  )
  operations.add(
    {
      method: 'POST',
      url: '/v1/images/convert',
      summary: 'A picture of ours in another format, with what it was made with',
      query: z.object({ output_format: z.enum(formats) }),
      answer: 'image/*',
      ...taken,
    },
    async ({ query }, request, reply) => {
      const settings = await settingsOf(request.body)
      const image = await decoded(request.body as Buffer, settings)
      reply.type(`image/${query.output_format}`)
      return image.toBuffer(query.output_format)
    },
  )
}
