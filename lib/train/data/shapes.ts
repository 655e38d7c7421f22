/** The shapes that a run trains on: the square of its resolution, or those of `data.buckets`. */
import { isSameSize, type PictureSize, sizeOf } from '../../data/index.js'
import { type Grid, gridOf } from '../../models/grid.js'
import { tokenCount } from '../../models/star/index.js'
import { StarError } from '../../native/index.js'
import type { DataConfig } from '../config/data.js'

/**
 * How far a side of a bucket may be from the square's: from half to twice of it. Of one area this allows ratios of sides up to 4:1,
 * and no shape has more than four times the square's tokens.
 */
const farthest = 2

/** What of a run's data decides its shapes. */
type ShapeConfig = Pick<DataConfig, 'resolution' | 'buckets'>

/** Sizes of training pictures in pixels; of one size for all where there are no buckets. */
export const trainingSizes = ({ resolution, buckets }: ShapeConfig): PictureSize[] =>
  buckets?.map(([width, height]) => ({ width, height })) ?? [sizeOf(resolution)]

/** The size that sample pictures of a run have: the square where it is trained on, else the first of `data.buckets`. */
export function sampleSize(config: ShapeConfig): PictureSize {
  const [first, ...others] = trainingSizes(config)
  return [first, ...others].find((size) => isSameSize(size, sizeOf(config.resolution))) ?? first
}

/**
 * The last scale's map of each shape.
 * @param patch pixels a side of a token of the last scale
 * @throws ERR_CONFIG for sides that are no multiples of the patch, and for shapes too far from the square
 */
export function trainingGrids(config: ShapeConfig, patch: number): Grid[] {
  return trainingSizes(config).map(({ width, height }) => {
    const name = `"data.buckets" names ${width}×${height}`
    const sides = [width, height]
    if (sides.some((side) => side % patch !== 0)) {
      const near = sides.map((side) => Math.max(1, Math.round(side / patch)) * patch)
      throw new StarError(
        'ERR_CONFIG',
        `${name}, but sides of this model's pictures are multiples of ${patch} pixels: take ${near.join('×')}`,
      )
    }
    const { resolution } = config
    if (sides.some((side) => side * farthest < resolution || side > farthest * resolution))
      throw new StarError(
        'ERR_CONFIG',
        `${name}, too far from the square of "data.resolution": sides are from half of ${resolution} to twice of it, ${resolution / farthest} to ${farthest * resolution} pixels`,
      )
    return gridOf({ width, height }, patch)
  })
}

/**
 * Tokens of a sample of the shape that has most.
 * @param patchNums sides of the square's token maps, coarse to fine
 * @throws ERR_CONFIG as `trainingGrids`
 */
export function longestSample(config: ShapeConfig, patchNums: readonly number[]): number {
  const patch = config.resolution / patchNums[patchNums.length - 1]
  return Math.max(...trainingGrids(config, patch).map((grid) => tokenCount(patchNums, grid)))
}
