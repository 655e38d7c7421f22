/** A sheet of random records of a pack with their captions, to look at. */
import { hashName } from '../names.js'
import { type CaptionedPicture, drawSheet } from '../sheet.js'

/** PNG of `count` pictures, those whose keys have the lowest hashes, so that the same pack gives the same sheet. */
export function drawContactSheet(
  pictures: readonly (CaptionedPicture & { key: string })[],
  count: number,
): Promise<Buffer> {
  const shown = pictures
    .map((picture) => ({ ...picture, order: hashName(`sheet ${picture.key}`) }))
    .sort((a, b) => a.order - b.order)
    .slice(0, count)
  return drawSheet(shown, 20)
}
