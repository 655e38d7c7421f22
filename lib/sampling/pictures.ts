/**
 * Pictures of encoded prompts: the one way from texts and seeds to pixels, for `Star` and for the sample pictures of a training.
 */
import { type Grid, gridOf } from '../models/grid.js'
import type { SamplerHead, StarTransformer, TextInput } from '../models/star/index.js'
import { downsampling, type PixelRule, pixelsOf, type Tokenizer } from '../models/tokenizer/index.js'
import { StarError } from '../native/index.js'
import { noGrad, scope, slice, type Tensor } from '../tensor/index.js'
import type { ScaleConditions } from './conditions.js'
import { generate } from './generate.js'
import { conditionsOf, disposeGiven, type GivenPicture } from './given-pictures.js'
import type { GraphPool } from './graphs.js'
import type { WeightedText } from './guidance.js'
import { imageNoise } from './image-noise.js'
import type { SamplingOptions } from './settings.js'

/** The networks that draw, and what they keep from one drawing to the next. */
export interface PictureModels {
  tokenizer: Tokenizer
  transformer: StarTransformer
  samplerHead?: SamplerHead | null
  graphs?: GraphPool
}

/** In pixels. */
export interface PictureSize {
  /** Pixels from left to right. */
  width: number
  /** Pixels from top to bottom. */
  height: number
}

export interface PictureRequest {
  /** Row of its prompt in the text batch, or several with weights, as many for each of those drawn together. */
  prompt: number | readonly WeightedText[]
  /** Row of the prompt that it is guided away from; default: the prompt "". */
  negative?: number
  /** Of its own random numbers, so that a picture does not depend on what else is drawn with it. */
  seed: number
  /** The picture that it changes; all or none of those drawn together have one. */
  given?: GivenPicture
}

/** A scale of all pictures is drawn. */
export interface PicturesEvent {
  scaleIndex: number
  /** Number of scales. */
  scales: number
  /** R, G, B bytes of the pictures as they look so far. To be called before `onScale` (or its promise) is done. */
  preview(): Uint8Array[]
}

export interface DrawPicturesOptions extends PictureModels {
  /** The prompts and the prompt "", each once, encoded in one batch. */
  text: TextInput
  /** Row of the prompt "". */
  empty: number
  /** What is drawn together. */
  pictures: readonly PictureRequest[]
  /** Their seed is not used: each picture has its own. */
  settings: SamplingOptions
  /** Of all pictures, in pixels, multiples of the tokenizer's downsampling. Default: the square that the models are made for. */
  size?: PictureSize
  onScale?: (event: PicturesEvent) => void | Promise<void>
  signal?: AbortSignal
}

/**
 * Draws pictures together. In the mode `first-sample` too each attends to its own prompt, as if it were drawn alone.
 * @returns R, G, B bytes of each, row by row from the top
 * @throws as `generate`
 */
export async function drawPictures(options: DrawPicturesOptions): Promise<Uint8Array[]> {
  const { tokenizer, pictures, size } = options
  const patch = downsampling(tokenizer.config)
  const grid = size && gridOf(size, patch)
  const given = pictures.flatMap((picture) => picture.given ?? [])
  if (given.length > 0 && given.length < pictures.length)
    throw new StarError(
      'ERR_ARGUMENT',
      `drawPictures: ${given.length} of ${pictures.length} pictures change a given one, expected all or none`,
    )
  const conditions = given.length > 0 ? conditionsOf(tokenizer, given, grid) : []
  try {
    return await drawWith({ conditions, grid }, options)
  } finally {
    disposeGiven(conditions)
  }
}

async function drawWith(
  { conditions, grid }: { conditions: readonly (ScaleConditions | null)[]; grid: Grid | undefined },
  options: DrawPicturesOptions,
): Promise<Uint8Array[]> {
  const { tokenizer, transformer, samplerHead, graphs, text, pictures, settings, onScale, signal } = options
  const seeds = pictures.map(({ seed }) => seed)
  // A preview of the last scale is the picture.
  let last: Uint8Array[] | null = null
  using fHat = await generate({
    transformer,
    quantizer: tokenizer.quantizer,
    samplerHead,
    graphs,
    text,
    empty: pictures.map(({ negative = options.empty }) => negative),
    prompts: pictures.map(({ prompt }) => prompt),
    independent: true,
    conditions,
    grid,
    settings,
    noise: imageNoise(seeds, transformer.device),
    signal,
    onScale:
      onScale &&
      (({ scaleIndex, scales, fHat }) =>
        onScale({
          scaleIndex,
          scales,
          preview: () => {
            const pixels = decodePictures(tokenizer, fHat, settings.pixels)
            if (scaleIndex === scales - 1) last = pixels
            return pixels
          },
        })),
  })
  return last ?? decodePictures(tokenizer, fHat, settings.pixels)
}

/** Pixels of f̂ (B, h, w, Z), some at a time so that the decoder's maps of large pictures stay small. */
function decodePictures(tokenizer: Tokenizer, fHat: Tensor, pixelRule?: PixelRule): Uint8Array[] {
  const [batch, rows, cols] = fHat.shape
  const pixels = rows * cols * downsampling(tokenizer.config) ** 2
  const together = Math.max(1, Math.floor((8 * 256 * 256) / pixels))
  const pictures: Uint8Array[] = []
  for (let begin = 0; begin < batch; begin += together)
    noGrad(() =>
      scope(() => {
        const some = slice(fHat, 0, begin, Math.min(batch, begin + together))
        pictures.push(...pixelsOf(tokenizer.decode(some), pixelRule))
      }),
    )
  return pictures
}
