/** The tokenizer of a Hugging Face folder, from whichever of its files are there. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { parseConfig, readConfigFile } from '../../config/parse-config.js'
import { fileError } from '../../native/files.js'
import { StarError } from '../../native/index.js'
import { type AddedToken, HuggingFaceTokenizer, type TokenizerJson, tokenizerJsonSchema } from './hugging-face.js'
import { parseSentencePiece } from './sentencepiece.js'

export type TokenizerKind = 'clip' | 't5'

const flags = {
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  normalized: z.boolean().default(false),
}
type NamedToken = Omit<AddedToken, 'id'>

const plain = (content: string): NamedToken => ({ content, lstrip: false, rstrip: false, normalized: false })
const tokenSchema = z.union([z.string().transform(plain), z.object({ content: z.string(), ...flags })])
const role = tokenSchema.nullish()
/** Special tokens by role; special_tokens_map.json and tokenizer_config.json both hold them. */
const roles = {
  bos_token: role,
  eos_token: role,
  unk_token: role,
  sep_token: role,
  pad_token: role,
  cls_token: role,
  mask_token: role,
}
const rolesSchema = z.object(roles)
const configSchema = z.object({
  ...roles,
  added_tokens_decoder: z.record(z.string().regex(/^\d+$/), z.object({ content: z.string(), ...flags })).nullish(),
  /** Number of T5's sentinels. */
  extra_ids: z.int().min(0).max(10_000).nullish(),
})
type TokenizerConfig = z.output<typeof configSchema>

function readBytes(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    throw fileError('read', file, error)
  }
}

/** The steps around CLIP's byte-pair model (Radford et al. 2021): one case, one kind of space, digits one by one. */
function clipDefinition(folder: string): TokenizerJson {
  const file = join(folder, 'vocab.json')
  const vocab = readConfigFile(z.record(z.string(), z.int().min(0)), file)
  const merges = readBytes(join(folder, 'merges.txt')).toString('utf8').split(/\r?\n/)
  const [start, end] = ['<|startoftext|>', '<|endoftext|>'].map((content) => {
    const id = vocab[content]
    if (id === undefined)
      throw new StarError('ERR_FILE', `${file} has no ${content}, expected the vocabulary of a CLIP model`)
    return { id, content }
  })
  const words = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"
  const oneSpace = { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' }
  const definition = {
    normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, oneSpace, { type: 'Lowercase' }] },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: words }, behavior: 'Removed', invert: true },
        { type: 'ByteLevel', add_prefix_space: false },
      ],
    },
    post_processor: { type: 'RobertaProcessing', cls: [start.content, start.id], sep: [end.content, end.id] },
    model: {
      type: 'BPE',
      vocab,
      merges: merges.filter((line) => line !== '' && !line.startsWith('#version')),
      unk_token: end.content,
      end_of_word_suffix: '</w>',
    },
  }
  return parseConfig(tokenizerJsonSchema, definition, file)
}

/** The steps around T5's unigram model (Raffel et al. 2020). Its sentinels follow the pieces, the last one first. */
function t5Definition(folder: string, sentinels: number): TokenizerJson {
  const file = join(folder, 'spiece.model')
  const { pieces, unknown, charsmap } = parseSentencePiece(readBytes(file), file)
  const extra = Array.from({ length: sentinels }, (_, i) => `<extra_id_${sentinels - 1 - i}>`)
  const end = pieces.findIndex(([piece]) => piece === '</s>')
  if (end < 0) throw new StarError('ERR_FILE', `${file} has no piece </s>, expected the vocabulary of a T5 model`)
  const definition = {
    added_tokens: extra.map((content, i) => ({ content, id: pieces.length + i })),
    normalizer:
      charsmap.length === 0
        ? null
        : { type: 'Precompiled', precompiled_charsmap: Buffer.from(charsmap).toString('base64') },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [{ type: 'WhitespaceSplit' }, { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' }],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ Sequence: { id: 'A' } }, { SpecialToken: { id: '</s>' } }],
      special_tokens: { '</s>': { ids: [end] } },
    },
    model: { type: 'Unigram', vocab: [...pieces, ...extra.map((content) => [content, 0])], unk_id: unknown },
  }
  return parseConfig(tokenizerJsonSchema, definition, file)
}

const defaultTokens: Readonly<Record<TokenizerKind, readonly string[]>> = {
  clip: ['<|startoftext|>', '<|endoftext|>'],
  t5: ['</s>', '<unk>', '<pad>'],
}

/**
 * Special tokens that the configuration files name, and the usual ones of the kind. Among the former is a quirk of released
 * models: Stable Diffusion 2.1 pads with "!", so that every "!" of a prompt becomes the padding token.
 */
function namedTokens(folder: string, kind: TokenizerKind, config: TokenizerConfig): NamedToken[] {
  const file = join(folder, 'special_tokens_map.json')
  // The map is what transformers wrote before tokenizer_config.json had the tokens with their ids.
  const map = existsSync(file) && !config.added_tokens_decoder ? readConfigFile(rolesSchema, file) : {}
  const byRole = Object.keys(roles).map((name) => map[name as keyof typeof roles] ?? config[name as keyof typeof roles])
  const decoder = Object.values(config.added_tokens_decoder ?? {})
  return [...decoder, ...byRole.filter((token) => token != null), ...defaultTokens[kind].map(plain)]
}

/** Adds tokens that the definition does not have as such; those that its vocabulary lacks too are left out. */
function withTokens(definition: TokenizerJson, tokens: readonly NamedToken[]): TokenizerJson {
  const { model } = definition
  const ids = new Map(model.type === 'BPE' ? Object.entries(model.vocab) : model.vocab.map(([text], id) => [text, id]))
  const added = new Map(definition.added_tokens.map((token) => [token.content, token]))
  for (const token of tokens) {
    const id = ids.get(token.content)
    if (id !== undefined && !added.has(token.content)) added.set(token.content, { ...token, id })
  }
  return { ...definition, added_tokens: [...added.values()] }
}

/** Files of which one tells a folder with a tokenizer. */
export const tokenizerFiles: readonly string[] = ['tokenizer.json', 'vocab.json', 'spiece.model']

/**
 * Reads tokenizer.json, or where there is none vocab.json and merges.txt (CLIP) or spiece.model (T5), and the special tokens
 * that special_tokens_map.json and tokenizer_config.json name.
 * @throws ERR_FILE when none is there or one is damaged, ERR_CONFIG when a file does not hold what it should
 */
export function loadTokenizer(folder: string, kind: TokenizerKind): HuggingFaceTokenizer {
  const has = (name: string): boolean => existsSync(join(folder, name))
  const configFile = join(folder, 'tokenizer_config.json')
  const config = has('tokenizer_config.json') ? readConfigFile(configSchema, configFile) : {}
  let definition: TokenizerJson
  let source: string
  if (has('tokenizer.json')) {
    source = join(folder, 'tokenizer.json')
    definition = readConfigFile(tokenizerJsonSchema, source)
  } else if (kind === 'clip' && has('vocab.json')) {
    source = join(folder, 'vocab.json')
    definition = clipDefinition(folder)
  } else if (kind === 't5' && has('spiece.model')) {
    source = join(folder, 'spiece.model')
    definition = t5Definition(folder, config.extra_ids ?? 100)
  } else {
    const wanted = kind === 'clip' ? 'vocab.json with merges.txt' : 'spiece.model'
    throw new StarError('ERR_FILE', `${folder} has no tokenizer: put tokenizer.json or ${wanted} of the model there`)
  }
  return new HuggingFaceTokenizer(withTokens(definition, namedTokens(folder, kind, config)), source)
}
