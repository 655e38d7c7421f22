/** Run configuration, component `data`: where images and captions come from. */
import { z } from 'zod'

export const dataSchema = z.strictObject({
  packs: z.array(z.string()).min(1).describe('LMDB packs or folders of packs'),
  resolution: z.int().min(8).max(4096).describe('side of the square training images in pixels'),
  flip: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe('part of the images mirrored left to right (tokenizer only: captions may speak of left and right)'),
})
