/** Options of the calls that look at a picture word by word, and their checks. */
import { z } from 'zod'
import { parseConfig } from './config/parse-config.js'
import { changeWhole, changeWords, type PictureSource, type WordChange } from './editing/index.js'
import type { StarInfo, WordMaps } from './engine/drawing-model.js'
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
import { StarError } from './native/index.js'
import { checkedSize } from './picture-size.js'
import { readPrompt } from './prompts.js'
import type { PictureSize } from './sampling/index.js'

/** What a picture shows and what it is to show, and how it is drawn. */
export interface StarWordEditOptions extends StarGenerateOptions {
  /** What the picture shows. */
  from: string
  /** What the changed picture shows: the same with some words changed. */
  to: string
  /** Share of the picture that changes: the part in which it attends most differently to the two prompts. Default 0.3. */
  share?: number
  /** How freely that part is drawn: from 0, held to what it shows, to 1, drawn as the prompt says. Default 0.5. */
  strength?: number
}

/** Which picture is looked at, and where. Other options say how a picture is drawn where none is given. */
export interface StarAttentionOptions extends Omit<StarGenerateOptions, 'count'> {
  /** A picture that the prompt describes: path of a file, bytes of one, or pixels. Default: one that is drawn of the prompt. */
  image?: PictureSource
  /** Indices of the scales whose attention counts. Default: those of at least half the last one's side. */
  scales?: number[]
  /** Indices of the blocks whose attention counts. Default: all. */
  blocks?: number[]
}

/** A prompt without weights, for its words. @throws ERR_ARGUMENT as `readPrompt`, and for weights */
function plainPrompt(prompt: unknown): string {
  const { text, parts } = readPrompt(prompt)
  if (parts)
    throw new StarError(
      'ERR_ARGUMENT',
      `the prompt "${text.slice(0, 40)}" has weights, and words are looked at in prompts without: take them out`,
    )
  return text
}

const indices = z.array(z.int().min(0)).min(1).optional()
const fraction = z.number().min(0).max(1)
const wordsSchema = generateSchema.extend({
  from: z.unknown().optional(),
  to: z.unknown().optional(),
  share: fraction.default(0.3),
  strength: fraction.default(0.5),
})
const attentionSchema = generateSchema
  .omit({ count: true })
  .extend({ image: z.custom<PictureSource>().optional(), scales: indices, blocks: indices })

const { prompt: _, ...hints } = generateHints
const wordHints = {
  ...hints,
  ...Object.fromEntries(['source', 'sourcePrompt', 'source_prompt'].map((name) => [name, 'did you mean "from"?'])),
  ...Object.fromEntries(
    ['prompt', 'target', 'targetPrompt', 'target_prompt'].map((name) => [
      name,
      'did you mean "to"? "from" says what the picture shows, "to" what it is to show',
    ]),
  ),
  ...Object.fromEntries(
    ['mask', 'extend', 'feather', 'softEdge'].map((name) => [
      name,
      'words say what changes: leave it out, or leave out "from" and "to" and give a prompt',
    ]),
  ),
  image: 'the picture is the first argument',
}

/** A call that changes a picture by words. */
export interface WordEditCall extends GenerateCall {
  from: string
  to: string
  change: WordChange
  edited: NonNullable<ImageSettings['edited']>
}

/** @throws ERR_ARGUMENT, ERR_CONFIG and ERR_FILE as `Star.edit` */
export async function wordEditCall(
  image: PictureSource,
  options: StarWordEditOptions,
  info: StarInfo,
): Promise<WordEditCall> {
  const given = { ...info.sampling, ...named(options) }
  const parsed = parseConfig(wordsSchema, given, 'the options of edit', { hints: wordHints })
  for (const name of ['from', 'to'] as const)
    if (parsed[name] === undefined)
      throw new StarError(
        'ERR_ARGUMENT',
        `edit: "${name}" is missing: say what the picture shows ("from") and what it is to show ("to")`,
      )
  const { from, to, share, strength, ...call } = {
    ...parsed,
    from: plainPrompt(parsed.from),
    to: plainPrompt(parsed.to),
  }
  const words = (prompt: string): string => prompt.toLowerCase().split(/\s+/).filter(Boolean).join(' ')
  if (words(from) === words(to))
    throw new StarError(
      'ERR_ARGUMENT',
      `edit: "from" and "to" are both "${from.slice(0, 40)}", expected other words in one`,
    )
  checkNegative(call)
  const { size } = checkedSize(call.size, info)
  const change = await changeWords(image, { share, strength, size }, info)
  return { ...call, from, to, prompts: [{ text: to }], change, edited: { by: 'edit', strength, from, share } }
}

/** A call that looks at a picture, checked. */
export interface AttentionCall {
  prompt: string
  /** R, G, B bytes of the given picture; null: one is to be drawn. */
  pixels: Uint8Array | null
  size: PictureSize | undefined
  scales: number[] | undefined
  blocks: number[] | undefined
  /** Of the drawing. */
  drawing: StarGenerateOptions
}

/** @throws ERR_ARGUMENT, ERR_CONFIG and ERR_FILE as `Star.attention` */
export async function attentionCall(
  prompt: unknown,
  options: StarAttentionOptions,
  info: StarInfo,
): Promise<AttentionCall> {
  const text = plainPrompt(prompt)
  checkOptions('attention', options)
  const given = { ...info.sampling, ...named(options) }
  const { image, scales, blocks } = parseConfig(attentionSchema, given, 'the options of attention', { hints })
  const { size } = checkedSize(options.size, info)
  const pixels = image === undefined ? null : (await changeWhole(image, { strength: 0, size }, info)).given.pixels
  const { image: _image, scales: _scales, blocks: _blocks, ...drawing } = options
  return { prompt: text, pixels, size, scales, blocks, drawing }
}

/** @throws ERR_ARGUMENT where no word of a prompt has tokens of its own */
export function checkWords(maps: readonly WordMaps[]): void {
  if (maps.some(({ words }) => words.length === 0))
    throw new StarError(
      'ERR_ARGUMENT',
      'the text encoder finds no words in the prompt: describe the picture in some words',
    )
}
