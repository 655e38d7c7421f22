/** Changing given pictures: what other folders use of it. */
export {
  type Change,
  changePart,
  changeWhole,
  drawingsOf,
  type EditRegion,
  type Extend,
  type ModelSizes,
} from './change.js'
export type { Box, MaskSource } from './mask.js'
export type { PictureSource, PixelData } from './raster.js'
export { changeWords, type WordChange } from './words.js'
