/** Byte-pair and unigram tokenizers as tokenizer.json describes them (CLIP, T5). */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { StarError } from '../../native/index.js'
import {
  createFrame,
  createNormalizer,
  createPreTokenizer,
  type Frame,
  type Normalizer,
  type PreTokenizer,
} from './pipeline.js'
import { BytePairModel, type SubwordModel, UnigramModel } from './subwords.js'
import type { TextTokenizer } from './tokenizer.js'

const addedTokenSchema = z.object({
  id: z.int().min(0),
  content: z.string().min(1),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  /** Looked for in the normalized text, otherwise in the text as it is given. */
  normalized: z.boolean().default(false),
})
export type AddedToken = z.output<typeof addedTokenSchema>

const modelSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('BPE'),
    vocab: z.record(z.string(), z.int().min(0)),
    merges: z.union([z.array(z.string()), z.array(z.tuple([z.string(), z.string()]))]),
    unk_token: z.string().nullish(),
    end_of_word_suffix: z.string().nullish(),
    ignore_merges: z.literal(false).default(false),
    byte_fallback: z.literal(false).default(false),
  }),
  z.object({
    type: z.literal('Unigram'),
    vocab: z.array(z.tuple([z.string(), z.number()])).min(1),
    unk_id: z.int().min(0),
    byte_fallback: z.literal(false).default(false),
  }),
])

/** The parts of a tokenizer.json that matter for encoding. */
export const tokenizerJsonSchema = z.object({
  added_tokens: z.array(addedTokenSchema).default([]),
  normalizer: z.unknown(),
  pre_tokenizer: z.unknown(),
  post_processor: z.unknown(),
  model: modelSchema,
})
export type TokenizerJson = z.output<typeof tokenizerJsonSchema>

/** Cuts a text at tokens that are written out in it: pieces of text, and ids. */
class AddedTokenSplitter {
  readonly #tokens: ReadonlyMap<string, AddedToken>
  readonly #pattern: RegExp | null

  constructor(tokens: readonly AddedToken[], normalize: Normalizer) {
    this.#tokens = new Map(tokens.map((token) => [normalize(token.content), token]))
    // The longest of those that begin at a place is the one meant.
    const contents = [...this.#tokens.keys()].sort((a, b) => b.length - a.length)
    const escaped = contents.map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'))
    this.#pattern = contents.length > 0 ? new RegExp(`(${escaped.join('|')})`, 'u') : null
  }

  *split(text: string): Generator<string | number> {
    if (!this.#pattern) {
      if (text) yield text
      return
    }
    // Odd places hold what the pattern found.
    const parts = text.split(this.#pattern)
    for (let i = 1; i < parts.length; i += 2) {
      const { lstrip, rstrip } = this.#tokens.get(parts[i])!
      if (lstrip) parts[i - 1] = parts[i - 1].trimEnd()
      if (rstrip) parts[i + 1] = parts[i + 1].trimStart()
    }
    for (let i = 0; i < parts.length; i++) {
      if (i % 2 === 1) yield this.#tokens.get(parts[i])!.id
      else if (parts[i]) yield parts[i]
    }
  }
}

/**
 * Normalizes a text, cuts it into pieces, and cuts each piece by the model into entries of the vocabulary: byte-pair encoding
 * (Sennrich et al. 2016) or the most probable sequence under a unigram model (Kudo 2018). The tokens that frame a text are put
 * around what is left after cutting to the longest length.
 */
export class HuggingFaceTokenizer implements TextTokenizer {
  readonly size: number
  /** Id of the token at the end of every text. */
  readonly endId: number
  readonly #definition: TokenizerJson
  readonly #frame: Frame
  readonly #normalize: Normalizer
  readonly #pieces: PreTokenizer
  readonly #model: SubwordModel
  readonly #raw: AddedTokenSplitter
  readonly #normalized: AddedTokenSplitter

  /** @param source file that errors name @throws ERR_CONFIG when it has parts that CLIP and T5 do not use */
  constructor(definition: TokenizerJson, source: string) {
    this.#definition = definition
    this.#normalize = createNormalizer(definition.normalizer, source)
    this.#pieces = createPreTokenizer(definition.pre_tokenizer, source)
    this.#frame = createFrame(definition.post_processor, source)
    const { model } = definition
    this.#model =
      model.type === 'BPE'
        ? new BytePairModel(model.vocab, model.merges, model.end_of_word_suffix ?? '', model.unk_token ?? null, source)
        : new UnigramModel(model.vocab, model.unk_id, source)
    const added = definition.added_tokens
    this.size = added.reduce((size, token) => Math.max(size, token.id + 1), this.#model.size)
    const last = this.#frame.after.at(-1)
    if (last === undefined)
      throw new StarError(
        'ERR_CONFIG',
        `${source} puts no token at the end of a text, expected an end token, as CLIP and T5 have`,
      )
    this.endId = last
    this.#raw = new AddedTokenSplitter(
      added.filter((token) => !token.normalized),
      (content) => content,
    )
    this.#normalized = new AddedTokenSplitter(
      added.filter((token) => token.normalized),
      this.#normalize,
    )
  }

  /** Padding is masked out, so that any id would do. */
  get padId(): number {
    return this.endId
  }

  encode(text: string, maxLength: number): number[] {
    const { before, after } = this.#frame
    const capacity = maxLength - before.length - after.length
    if (capacity < 0)
      throw new StarError(
        'ERR_ARGUMENT',
        `encode: the longest length is ${maxLength}, expected at least ${before.length + after.length}, the special tokens`,
      )
    const ids: number[] = []
    for (const id of this.#ids(text)) {
      if (ids.length >= capacity) break
      ids.push(id)
    }
    return [...before, ...ids, ...after]
  }

  fingerprint(): string {
    return createHash('sha256').update(JSON.stringify(this.#definition)).digest('hex')
  }

  /** One by one, so that of a long text no more is cut than is asked for. */
  *#ids(text: string): Generator<number> {
    // Halves of surrogate pairs are no characters.
    for (const part of this.#raw.split(text.replace(/\p{Cs}/gu, '\ufffd'))) {
      if (typeof part === 'number') yield part
      else
        for (const section of this.#normalized.split(this.#normalize(part))) {
          if (typeof section === 'number') yield section
          else for (const piece of this.#pieces(section)) yield* this.#model.ids(piece)
        }
    }
  }
}
