/** Options of the calls that change a given picture, and their checks. */
import { z } from 'zod'
import { parseConfig } from './config/parse-config.js'
import {
  type Change,
  changePart,
  changeWhole,
  type Extend,
  type MaskSource,
  type ModelSizes,
  type PictureSource,
} from './editing/index.js'
import type { StarInfo } from './engine/drawing-model.js'
import {
  checkNegative,
  checkOptions,
  type GenerateCall,
  generateHints,
  generateSchema,
  named,
  type StarGenerateOptions,
} from './generate-options.js'
import type { ImageSettings } from './image.js'
import { checkedSize } from './picture-size.js'
import { type Prompt, readPrompt } from './prompts.js'

/** Which part of a picture is drawn, of what, and how. Give `mask`, `extend` or both; a picture with a transparent part needs neither. */
export interface StarEditOptions extends Omit<StarGenerateOptions, 'size'> {
  /** What the changed picture shows. */
  prompt: Prompt
  /**
   * What is drawn: a file of the picture's size (its path or bytes), in which the transparent part is drawn, or the white part where
   * all of it is opaque; a box in pixels; or a byte for each pixel, 255 where it is drawn. Default: the picture's transparent part.
   */
  mask?: MaskSource
  /** Pixels that the picture grows by on each side; they are drawn. */
  extend?: Extend
  /**
   * Pixels beyond the mask over which what is drawn fades into the picture; all others keep their bytes. Default: a 64th of the
   * square that the model sees, 2 at least.
   */
  feather?: number
  /** Mixes code vectors at the mask's edge by the share of their area, in place of taking the given or the drawn one. Default false. */
  softEdge?: boolean
  /**
   * How much is drawn anew inside the mask: with less than 1, the coarsest (1 − strength) of the scales are kept there too. Default 1:
   * the picture's own pixels inside the mask have no influence.
   */
  strength?: number
}

/** How far a picture is changed, into what, and how. */
export interface StarVaryOptions extends StarGenerateOptions {
  /** What the changed picture shows. */
  prompt: Prompt
  /**
   * From 0, all scales of the given picture kept (what the tokenizer makes of it), to 1, none (a new picture): the coarsest
   * (1 − strength) of the scales are kept and the rest is drawn. Default 0.5.
   */
  strength?: number
}

const share = z.number().min(0).max(1)
const whole = z.int().min(0).optional()
const editSchema = generateSchema.omit({ size: true }).extend({
  prompt: z.unknown().optional(),
  mask: z.custom<MaskSource>().optional(),
  extend: z.strictObject({ left: whole, right: whole, top: whole, bottom: whole }).optional(),
  feather: z.int().min(0).max(1024).optional(),
  softEdge: z.boolean().default(false),
  strength: share.default(1),
})
const varySchema = generateSchema.extend({ prompt: z.unknown().optional(), strength: share.default(0.5) })

const { prompt: _, ...hints } = generateHints
const editHints = {
  ...hints,
  size: 'the result has the size of the picture, and what "extend" adds',
  image: 'the picture is the first argument',
  blur: 'did you mean "feather"?',
  box: 'give the box as "mask": { x, y, width, height }',
  denoising_strength: 'did you mean "strength"?',
}

const { size: _size, ...varyHints } = editHints

/** A call that changes a picture, checked and prepared. */
export interface ChangeCall extends GenerateCall {
  change: Change
  edited: NonNullable<ImageSettings['edited']>
}

const sizesOf = ({ imageSize, scales }: StarInfo): ModelSizes => ({ imageSize, scales })

/** @throws ERR_ARGUMENT, ERR_CONFIG and ERR_FILE as `Star.edit` */
export async function editCall(image: PictureSource, options: StarEditOptions, info: StarInfo): Promise<ChangeCall> {
  checkOptions('edit', options)
  const given = { ...info.sampling, ...named(options) }
  const parsed = parseConfig(editSchema, given, 'the options of edit', { hints: editHints })
  const { prompt, mask, extend, feather, softEdge, strength, ...call } = parsed
  const prompts = [readPrompt(prompt)]
  checkNegative(call)
  const change = await changePart(image, { mask, extend, feather, softEdge, strength }, sizesOf(info))
  return { ...call, prompts, change, edited: { by: 'edit', strength, softEdge } }
}

/** @throws ERR_ARGUMENT, ERR_CONFIG and ERR_FILE as `Star.vary` */
export async function varyCall(image: PictureSource, options: StarVaryOptions, info: StarInfo): Promise<ChangeCall> {
  checkOptions('vary', options)
  const given = { ...info.sampling, ...named(options) }
  const { prompt, strength, ...call } = parseConfig(varySchema, given, 'the options of vary', { hints: varyHints })
  const prompts = [readPrompt(prompt)]
  checkNegative(call)
  const { size } = checkedSize(call.size, info)
  const change = await changeWhole(image, { strength, size }, sizesOf(info))
  return { ...call, prompts, change, edited: { by: 'vary', strength } }
}
