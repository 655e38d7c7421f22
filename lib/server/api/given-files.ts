/** Pictures and masks that clients send to be changed. */
import sharp from 'sharp'
import type {
  PixelData,
  Star,
  StarEditOptions,
  StarGenerateOptions,
  StarImage,
  StarResult,
  StarVaryOptions,
  StarWordEditOptions,
} from '../../index.js'
import { StarError } from '../../native/error.js'
import { HttpError } from '../http/errors.js'

/** Most pixels of a picture: a request takes some bytes for each while it waits. */
const mostPixels = 2048 * 2048

/** Width and height in pixels. @throws 400 where the bytes are no picture, or it has too many pixels */
export async function sizeOf(bytes: Uint8Array, param: string): Promise<{ width: number; height: number }> {
  const facts = await sharp(bytes)
    .metadata()
    .catch(() => {
      throw new HttpError(400, `"${param}" is no picture that can be read: send a PNG, JPEG, WebP or AVIF`, {
        param,
        code: 'invalid_image',
      })
    })
  // Cameras turn their pictures by a note in the file.
  const { width, height } = facts.autoOrient
  if (width * height > mostPixels)
    throw new HttpError(400, `"${param}" has ${width}x${height} pixels, expected at most ${mostPixels}`, {
      param,
      code: 'invalid_image',
    })
  return { width, height }
}

/**
 * A mask as AUTOMATIC1111's clients paint them, white or opaque where it is drawn, at the size of the picture.
 * @throws 400 where the bytes are no picture
 */
export async function paintedMask(
  bytes: Uint8Array,
  { width, height }: { width: number; height: number },
  invert: boolean,
): Promise<PixelData> {
  await sizeOf(bytes, 'mask')
  try {
    const { isOpaque } = await sharp(bytes).stats()
    const grey = isOpaque ? sharp(bytes).flatten().toColourspace('b-w') : sharp(bytes).extractChannel('alpha')
    const shown = invert ? grey.negate() : grey
    const data = await shown.resize(width, height, { fit: 'fill', kernel: 'nearest' }).raw().toBuffer()
    return { width, height, data }
  } catch {
    throw new HttpError(400, '"mask" is damaged', { param: 'mask', code: 'invalid_image' })
  }
}

/** A picture to be changed, and how: a part of it, by words, or the whole. */
export type ChangeRequest =
  | ({ by: 'edit'; image: Uint8Array } & Pick<StarEditOptions, 'mask' | 'feather' | 'strength'>)
  | ({ by: 'words'; image: Uint8Array } & Pick<StarWordEditOptions, 'from' | 'share' | 'strength'>)
  | ({ by: 'vary'; image: Uint8Array } & Pick<StarVaryOptions, 'strength'>)

/** The changed pictures of a request. @throws 400 for files that cannot be read */
export function changing(prompt: string, change: ChangeRequest) {
  const changed = (star: Star, options: StarGenerateOptions): Promise<StarResult> => {
    const { image } = change
    if (change.by === 'words') {
      const { from, share, strength } = change
      return star.edit(image, { ...options, from, to: prompt, share, strength })
    }
    const { by, image: _, ...how } = change
    return by === 'edit'
      ? star.edit(image, { ...options, prompt, ...how })
      : star.vary(image, { ...options, prompt, ...how })
  }
  return async function* (star: Star, options: StarGenerateOptions): AsyncGenerator<StarImage> {
    try {
      const { images } = await changed(star, options)
      yield* images
    } catch (error) {
      if (error instanceof StarError && error.code === 'ERR_FILE')
        throw new HttpError(400, error.message, { code: 'invalid_image' })
      throw error
    }
  }
}
