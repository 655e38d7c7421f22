/** Run configuration, component `data`: where images and captions come from. */
import { z } from 'zod'
import { StarError } from '../../native/error.js'

const off = z.literal(false)

/** As lib/data/filters.ts takes them, which says what is left out by default. */
const filtersSchema = z.strictObject({
  aspectRatio: z
    .union([z.number().min(1), off])
    .optional()
    .describe('largest ratio of the longer side to the shorter, 3 by default; false: any'),
  minSide: z
    .union([z.int().min(1), off])
    .optional()
    .describe(
      'least pixels of the shorter side, by default those of the training images (with buckets both sides, of the image’s own); false: any',
    ),
  captionLength: z
    .union([z.tuple([z.int().min(0), z.int().min(1)]), off])
    .optional()
    .describe('a caption has more characters than the first and at most the second, [3, 1024] by default; false: any'),
  repeatedCharacter: z
    .union([z.int().min(2), off])
    .optional()
    .describe('captions with a character so often in a row are left out, 5 by default; false: none'),
  forbiddenText: z
    .union([z.array(z.string()), off])
    .optional()
    .describe('captions that hold one of these are left out, ["s.mj.run"] by default; false: none'),
  watermark: z
    .union([z.number().min(0).max(1), off])
    .optional()
    .describe('largest pwatermark, 0.6 by default; false: any'),
  unsafe: z
    .union([z.number().min(0).max(1), off])
    .optional()
    .describe('largest punsafe, 0.5 by default; false: any'),
  languages: z
    .union([z.array(z.string()), off])
    .optional()
    .describe('languages to keep where the data names one; false, the default: all'),
  discard: z
    .union([z.array(z.string()), off])
    .optional()
    .describe('JSON files with the ids of images to leave out, lists or objects by id; false, the default: none'),
  reward: z
    .union([z.strictObject({ scores: z.array(z.string()).min(1), above: z.number().default(0) }), off])
    .optional()
    .describe(
      'JSON files (or folders of them) id → score: images with a score at or below `above` are left out; false, the default: none',
    ),
  strip: z
    .boolean()
    .optional()
    .describe('whether web addresses and flags such as --ar 3:2 are cut out of captions; true by default'),
})

/** As lib/data/augment takes them. */
const augmentSchema = z.strictObject({
  variants: z
    .int()
    .min(1)
    .max(65536)
    .default(8)
    .describe(
      'versions of each image, the first of them as it is; each place in the order draws one. Without `data.augment` there is only that; {} takes all defaults',
    ),
  shift: z
    .number()
    .min(0)
    .max(0.5)
    .default(0.05)
    .describe(
      'largest shift to each side as a part of width and height, of images with a white edge; nothing is cut off',
    ),
  scale: z
    .number()
    .min(0.1)
    .max(1)
    .default(0.85)
    .describe('least size as a part of width and height, of images with a white edge'),
  flip: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe('part of the versions mirrored left to right, where no caption speaks of sides or of writing'),
  background: z
    .number()
    .min(0)
    .max(1)
    .default(0.15)
    .describe('part of the versions put on a plain coloured background, which the captions then name'),
  hue: z
    .number()
    .min(0)
    .max(1)
    .default(0.15)
    .describe('part of the versions whose main colour is changed, and the colour word in the captions with it'),
})

const paths = (description: string) => z.array(z.string()).optional().describe(description)

export const dataSchema = z
  .strictObject({
    packs: paths('LMDB packs or folders of packs; or give tars'),
    heldOutPacks: paths('packs to validate on; by default the images of `packs` whose info says split: held-out'),
    tars: paths('WebDataset tars or folders of them, streamed; or give packs'),
    heldOutTars: paths('tars to validate on; by default there is no validation on tars'),
    tarSamples: z.int().min(1).optional().describe('images in the tars, needed where the length is given in epochs'),
    resolution: z.int().min(8).max(4096).describe('side of the square training images in pixels'),
    buckets: z
      .array(z.tuple([z.int().min(1).max(8192), z.int().min(1).max(8192)]))
      .min(1)
      .max(64)
      .optional()
      .describe(
        'width and height of the training images, in place of the square: each image goes to the one with the nearest ratio of sides, and a batch is of one alone',
      ),
    captionKeys: z
      .array(z.string())
      .default([])
      .describe('keys of an image’s info that hold captions; where it has none of them, prompt and caption… count'),
    filters: filtersSchema.prefault({}).describe('which images and captions are left out'),
    flip: z.number().min(0).max(1).default(0).describe('part of the images mirrored left to right'),
    augment: augmentSchema.optional(),
    workers: z
      .int()
      .min(1)
      .max(1024)
      .optional()
      .describe('images decoded at once; by default as many as processor cores'),
    badShare: z
      .number()
      .min(0)
      .max(1)
      .default(0.01)
      .describe('part of the images that may be damaged; they are replaced by others and logged'),
    textStates: z
      .enum(['f32', 'f16'])
      .optional()
      .describe(
        'type in which text states are cached, f32 by default; f16 halves the cache and rounds (gradients differ by 8e-4)',
      ),
    cacheGB: z
      .number()
      .positive()
      .optional()
      .describe(
        'largest size of each cache (token maps, text states) in GB, 64 by default; the oldest entries are dropped',
      ),
  })
  .superRefine(({ packs, heldOutPacks, tars, heldOutTars, flip, augment }, context) => {
    const complain = (message: string) => context.addIssue({ code: 'custom', message })
    if (!packs === !tars)
      complain(packs ? 'packs and tars are both given: keep one of them' : 'the images are missing: give packs or tars')
    if (tars && heldOutPacks) complain('heldOutPacks stands beside tars: give heldOutTars')
    if (augment && flip > 0) complain('flip stands beside augment: set augment.flip')
    if (packs && heldOutTars) complain('heldOutTars stands beside packs: give heldOutPacks')
  })
  .meta({ oneOf: [{ required: ['packs'] }, { required: ['tars'] }] })

/** @throws ERR_CONFIG where the configuration leaves it to the caller to name the images, and nobody has */
export function checkImages({ packs, tars }: DataConfig): void {
  if ((packs ?? tars)!.length > 0) return
  const [key, flag] = packs ? ['packs', 'lmdb_dirs'] : ['tars', 'web_tar_root']
  throw new StarError(
    'ERR_CONFIG',
    `"data.${key}" is empty, expected the images to train on: give them by --set 'data.${key}=["FOLDER"]', or --${flag} FOLDER where the configuration is one of the reference implementation`,
  )
}

export type DataConfig = z.output<typeof dataSchema>
