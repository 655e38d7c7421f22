/** Sizes that training pictures are brought to, each of which takes the pictures of about its ratio of sides. */

/** In pixels. */
export interface PictureSize {
  width: number
  height: number
}

export const isSameSize = (a: PictureSize, b: PictureSize): boolean => a.width === b.width && a.height === b.height

/** The size that a number stands for as the side of a square. */
export const sizeOf = (size: PictureSize | number): PictureSize =>
  typeof size === 'number' ? { width: size, height: size } : size

/** How far two ratios of sides are apart: |ln(w/h) − ln(w'/h')|, the same whichever way both are turned. */
const distance = (a: PictureSize, b: PictureSize): number =>
  Math.abs(Math.log((a.width * b.height) / (a.height * b.width)))

/** Number of the bucket whose ratio of sides is nearest to a picture's; of equally near ones the first. */
export function nearestBucket(picture: PictureSize, buckets: readonly PictureSize[]): number {
  let nearest = 0
  for (let b = 1; b < buckets.length; b++)
    if (distance(picture, buckets[b]) < distance(picture, buckets[nearest])) nearest = b
  return nearest
}
