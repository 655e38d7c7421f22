/** A kind of training that the package does not have: the mean colour of the images. */
import { z } from 'zod'
import { commonKeys } from '../../../lib/train/config/common.js'

export const paletteSchema = z.strictObject({
  kind: z.literal('palette').describe('the mean colour of the images is learnt'),
  ...commonKeys,
  colours: z.int().min(1).default(1).describe('rows that are learnt'),
})

export type PaletteConfig = z.output<typeof paletteSchema>
