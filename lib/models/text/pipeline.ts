/** The steps of a tokenizer.json around its model: normalizers, pre-tokenizers, and the special tokens of a whole text. */
import { z } from 'zod'
import { parseConfig } from '../../config/parse-config.js'
import { StarError } from '../../native/index.js'
import { Charsmap } from './charsmap.js'

/** Rewrites a text. */
export type Normalizer = (text: string) => string
/** Cuts a text into the pieces that the model sees one by one. */
export type PreTokenizer = (text: string) => string[]

const utf8 = new TextEncoder()

type Builder<T> = (json: unknown, source: string) => T

const stepSchema = z.looseObject({ type: z.string() })
const patternSchema = z.union([z.object({ Regex: z.string() }), z.object({ String: z.string() })])

function build<T>(what: string, builders: Readonly<Record<string, Builder<T>>>, json: unknown, source: string): T {
  const { type } = parseConfig(stepSchema, json, `the ${what} of ${source}`)
  if (!Object.hasOwn(builders, type))
    throw new StarError(
      'ERR_CONFIG',
      `${source}: the ${what} "${type}" is unknown (known: ${Object.keys(builders).join(', ')}); ` +
        'give the tokenizer files of a CLIP or T5 model',
    )
  return builders[type](json, source)
}

/** The patterns are written for Oniguruma: its \\s is White_Space, which is neither what JavaScript's is. */
function createPattern(pattern: z.output<typeof patternSchema>, source: string): RegExp {
  if ('String' in pattern) return new RegExp(pattern.String.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'), 'gu')
  try {
    return new RegExp(pattern.Regex.replaceAll('\\s', '\\p{White_Space}'), 'gu')
  } catch (cause) {
    throw new StarError(
      'ERR_CONFIG',
      `${source}: the pattern ${JSON.stringify(pattern.Regex)} cannot be read, expected one that CLIP or T5 uses`,
      { cause },
    )
  }
}

// As in the reference each character is lowered for itself: a capital sigma at the end of a word becomes σ, not ς.
const lowerCase: Normalizer = (text) => text.replaceAll('Σ', 'σ').toLowerCase()

const normalizers: Readonly<Record<string, Builder<Normalizer>>> = {
  NFC: () => (text) => text.normalize('NFC'),
  NFKC: () => (text) => text.normalize('NFKC'),
  Lowercase: () => lowerCase,
  Strip: (json, source) => {
    const schema = z.object({ strip_left: z.boolean(), strip_right: z.boolean() })
    const { strip_left: left, strip_right: right } = parseConfig(schema, json, source)
    return (text) => {
      const rest = left ? text.replace(/^\p{White_Space}+/u, '') : text
      return right ? rest.replace(/\p{White_Space}+$/u, '') : rest
    }
  },
  Replace: (json, source) => {
    const options = parseConfig(z.object({ pattern: patternSchema, content: z.string() }), json, source)
    const pattern = createPattern(options.pattern, source)
    return (text) => text.replace(pattern, () => options.content)
  },
  Precompiled: (json, source) => {
    const options = parseConfig(z.object({ precompiled_charsmap: z.base64() }), json, source)
    const rules = new Charsmap(Buffer.from(options.precompiled_charsmap, 'base64'), source)
    return (text) => rules.apply(text)
  },
  Sequence: (json, source) => {
    const { normalizers } = parseConfig(z.object({ normalizers: z.array(stepSchema) }), json, source)
    const steps = normalizers.map((step) => createNormalizer(step, source))
    return (text) => steps.reduce((result, step) => step(result), text)
  },
}

/** Words, numbers and signs, each with a space before it, and white space (Radford et al. 2019). */
const wordPattern =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu

/** A visible letter for each byte: itself where it is one in Latin-1, the others in order from U+0100. */
export const byteAlphabet: readonly string[] = (() => {
  let hidden = 0x100
  const visible = (b: number): boolean => (b > 0x20 && b < 0x7f) || (b > 0xa0 && b !== 0xad)
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(visible(b) ? b : hidden++))
})()

const byteLetters = (text: string): string => Array.from(utf8.encode(text), (b) => byteAlphabet[b]).join('')

const preTokenizers: Readonly<Record<string, Builder<PreTokenizer>>> = {
  WhitespaceSplit: () => (text) => text.match(/\P{White_Space}+/gu) ?? [],
  Metaspace: (json, source) => {
    const schema = z.object({
      replacement: z.string().min(1),
      prepend_scheme: z.enum(['always', 'never']).optional(),
      // Files written before there was a prepend_scheme.
      add_prefix_space: z.boolean().default(true),
      split: z.boolean().default(true),
    })
    const { replacement: mark, prepend_scheme, add_prefix_space, split } = parseConfig(schema, json, source)
    const prefix = prepend_scheme ? prepend_scheme === 'always' : add_prefix_space
    return (text) => {
      const marked = text.replaceAll(' ', mark)
      const whole = prefix && !marked.startsWith(mark) ? mark + marked : marked
      if (!split) return [whole]
      const [first, ...rest] = whole.split(mark)
      return [...(first ? [first] : []), ...rest.map((part) => mark + part)]
    }
  },
  Split: (json, source) => {
    const schema = z.object({ pattern: patternSchema, behavior: z.literal('Removed'), invert: z.literal(true) })
    const pattern = createPattern(parseConfig(schema, json, source).pattern, source)
    return (text) => text.match(pattern) ?? []
  },
  ByteLevel: (json, source) => {
    const schema = z.object({ add_prefix_space: z.literal(false), use_regex: z.boolean().default(true) })
    const { use_regex } = parseConfig(schema, json, source)
    return (text) => (use_regex ? (text.match(wordPattern) ?? []) : [text]).map(byteLetters)
  },
  Sequence: (json, source) => {
    const { pretokenizers } = parseConfig(z.object({ pretokenizers: z.array(stepSchema) }), json, source)
    const steps = pretokenizers.map((step) => createPreTokenizer(step, source))
    return (text) => steps.reduce((pieces, step) => pieces.flatMap(step), [text])
  },
}

/** The `normalizer` of a tokenizer.json. @throws ERR_CONFIG for one that CLIP and T5 do not use */
export function createNormalizer(json: unknown, source: string): Normalizer {
  return json ? build('normalizer', normalizers, json, source) : (text) => text
}

/** The `pre_tokenizer` of a tokenizer.json. @throws ERR_CONFIG for one that CLIP and T5 do not use */
export function createPreTokenizer(json: unknown, source: string): PreTokenizer {
  return json ? build('pre_tokenizer', preTokenizers, json, source) : (text) => [text]
}

/** Ids that stand before and after every text. */
export interface Frame {
  before: number[]
  after: number[]
}

const pairSchema = z.tuple([z.string(), z.int().min(0)])
const itemSchema = z.union([
  z.object({ SpecialToken: z.object({ id: z.string() }) }),
  z.object({ Sequence: z.object({ id: z.literal('A') }) }),
])

const frames: Readonly<Record<string, Builder<Frame>>> = {
  RobertaProcessing: (json, source) => {
    const { cls, sep } = parseConfig(z.object({ cls: pairSchema, sep: pairSchema }), json, source)
    return { before: [cls[1]], after: [sep[1]] }
  },
  TemplateProcessing: (json, source) => {
    const schema = z.object({
      single: z.array(itemSchema),
      special_tokens: z.record(z.string(), z.object({ ids: z.array(z.int().min(0)) })),
    })
    const { single, special_tokens } = parseConfig(schema, json, source)
    const text = single.findIndex((item) => 'Sequence' in item)
    const ids = (items: typeof single): number[] =>
      items.flatMap((item) => ('SpecialToken' in item ? (special_tokens[item.SpecialToken.id]?.ids ?? []) : []))
    return { before: ids(single.slice(0, text)), after: ids(single.slice(text + 1)) }
  },
}

/** The `post_processor` of a tokenizer.json. @throws ERR_CONFIG for one that CLIP and T5 do not use */
export function createFrame(json: unknown, source: string): Frame {
  return build('post_processor', frames, json, source)
}
