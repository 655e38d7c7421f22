/** Text encoders by what model.json and run configurations name: one that is shipped, or a Hugging Face folder. */
import { existsSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { z } from 'zod'
import { parseConfig, readConfigFile } from '../../config/parse-config.js'
import { packageRoot, StarError } from '../../native/index.js'
import { scope } from '../../tensor/index.js'
import { openWeights } from '../../weights/weights.js'
import { expectSizes } from '../sizes.js'
import { type ClipTextConfig, ClipTextModel, clipTextSchema } from './clip.js'
import { ModelTextEncoder, meanPooling, statePooling, type TextEncoder, type TextModel } from './encoder.js'
import { MiniLmEncoder } from './minilm.js'
import { type T5Config, T5Encoder, t5Schema } from './t5.js'
import { loadTokenizer, tokenizerFiles } from './tokenizer-files.js'

const shipped: Readonly<Record<string, (folder: string, device: string) => TextEncoder>> = {
  'minilm-l6': (folder, device) => MiniLmEncoder.load(folder, { device }),
}

/** Fingerprints of shipped encoders. Their files stay what they are while a process runs, and 90 MB are read for one. */
const fingerprints = new Map<string, string>()

function loadShipped(name: string, folder: string, device: string): TextEncoder {
  const encoder = shipped[name](folder, device)
  const read = encoder.fingerprint.bind(encoder)
  encoder.fingerprint = () => {
    const known = fingerprints.get(name) ?? read()
    fingerprints.set(name, known)
    return known
  }
  return encoder
}

/** Names of the encoders that come with the package. */
export const textEncoderNames: readonly string[] = Object.keys(shipped)

/** Tokens that the published system gives a T5 encoder; its relative positions know no limit. */
const t5Length = 120

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false

/** Fills a network made without first values with the weights of a folder; `rename` gives the network's names, or null. */
function withWeights<M extends TextModel>(model: M, folder: string, rename: (name: string) => string | null): M {
  try {
    using weights = openWeights(folder)
    scope(() => {
      const tensors = weights.tensors({ filter: (name) => rename(name) !== null })
      model.load(new Map([...tensors].map(([name, tensor]) => [rename(name)!, tensor])))
    })
    model.setTrainable(false)
    return model
  } catch (error) {
    model.dispose()
    if (!(error instanceof StarError) || error.code !== 'ERR_SHAPE') throw error
    throw new StarError(
      'ERR_SHAPE',
      `${folder}: its weights do not fit its config.json: ${error.message}. Take both from the same model`,
      { cause: error },
    )
  }
}

/** Older files keep a table of positions; files of newer versions of transformers leave the prefix out. */
function clipName(name: string): string | null {
  if (name.endsWith('.position_ids')) return null
  return name.startsWith('text_model.') ? name : `text_model.${name}`
}

/** The encoder's part of a T5 model. Its embedding is stored as `shared`, and in some files once more. */
const t5Name = (name: string): string | null =>
  name === 'shared.weight' || (name.startsWith('encoder.') && name !== 'encoder.embed_tokens.weight') ? name : null

/** Sizes of a network's configuration that its weights tell, by the names of the keys. */
type StoredSizes<C> = (shape: (name: string) => readonly number[], layers: (pattern: RegExp) => number) => Partial<C>

/** @throws ERR_SHAPE where the sizes of a config.json are not those of the weights in its folder */
function expectStored<C extends object>(source: string, folder: string, config: C, sizes: StoredSizes<C>): void {
  using weights = openWeights(folder)
  const shapes = new Map(Array.from(weights.entries, ({ name, shape }) => [name, shape] as const))
  const shape = (name: string): readonly number[] => {
    const found = shapes.get(name) ?? shapes.get(name.replace('text_model.', ''))
    if (!found)
      throw new StarError('ERR_SHAPE', `${weights.path} holds no ${name}: take it from the model of ${source}`)
    return found
  }
  const layers = (pattern: RegExp): number =>
    new Set([...shapes.keys()].flatMap((name) => pattern.exec(name)?.[1] ?? [])).size
  expectSizes({ source, weights: weights.path }, config, sizes(shape, layers))
}

const clipSizes: StoredSizes<ClipTextConfig> = (shape, layers) => {
  const [vocab_size, hidden_size] = shape('text_model.embeddings.token_embedding.weight')
  const [max_position_embeddings] = shape('text_model.embeddings.position_embedding.weight')
  const [intermediate_size] = shape('text_model.encoder.layers.0.mlp.fc1.weight')
  const num_hidden_layers = layers(/^(?:text_model\.)?encoder\.layers\.(\d+)\./)
  return { vocab_size, hidden_size, max_position_embeddings, intermediate_size, num_hidden_layers }
}

const t5Sizes: StoredSizes<T5Config & { inner: number }> = (shape, layers) => {
  const [vocab_size, d_model] = shape('shared.weight')
  const [inner] = shape('encoder.block.0.layer.0.SelfAttention.q.weight')
  const [relative_attention_num_buckets, num_heads] = shape(
    'encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight',
  )
  const [d_ff] = shape('encoder.block.0.layer.1.DenseReluDense.wi_0.weight')
  const num_layers = layers(/^encoder\.block\.(\d+)\./)
  return { vocab_size, d_model, inner, relative_attention_num_buckets, num_heads, d_ff, num_layers }
}

type Loader = (config: unknown, source: string, folder: string, tokenizer: string, device: string) => TextEncoder

const checkSize = (vocabulary: number, rows: number, source: string): void => {
  if (vocabulary > rows)
    throw new StarError(
      'ERR_CONFIG',
      `${source} has a vocab_size of ${rows}, but the tokenizer has ${vocabulary} ids: take both from the same model`,
    )
}

/** By the model_type of config.json. */
const kinds: Readonly<Record<string, Loader>> = {
  clip_text_model: (json, source, folder, tokenizerFolder, device) => {
    const config = parseConfig(clipTextSchema, json, source)
    const tokenizer = loadTokenizer(tokenizerFolder, 'clip')
    checkSize(tokenizer.size, config.vocab_size, source)
    expectStored(source, folder, config, clipSizes)
    const model = withWeights(
      scope(() => new ClipTextModel(config, { init: null, device })),
      folder,
      clipName,
    )
    const pooling = statePooling(tokenizer.endId)
    return new ModelTextEncoder(model, tokenizer, { name: 'clip', maxLength: config.max_position_embeddings, pooling })
  },
  t5: (json, source, folder, tokenizerFolder, device) => {
    const config = parseConfig(t5Schema, json, source)
    const tokenizer = loadTokenizer(tokenizerFolder, 't5')
    checkSize(tokenizer.size, config.vocab_size, source)
    expectStored(source, folder, { ...config, inner: config.num_heads * config.d_kv }, t5Sizes)
    const model = withWeights(
      scope(() => new T5Encoder(config, { init: null, device })),
      folder,
      t5Name,
    )
    return new ModelTextEncoder(model, tokenizer, { name: 't5', maxLength: t5Length, pooling: meanPooling })
  },
}

/**
 * The folders of a model and of its tokenizer: both in one, or `text_encoder` and `tokenizer` side by side, as Stable
 * Diffusion's folder has them.
 */
function foldersOf(path: string): { model: string; tokenizer: string } {
  const model = [path, join(path, 'text_encoder')].find((folder) => existsSync(join(folder, 'config.json')))
  if (!model)
    throw new StarError(
      'ERR_FILE',
      `the folder ${path} holds no text encoder: expected config.json in it or in its text_encoder folder`,
    )
  const own = tokenizerFiles.some((name) => existsSync(join(model, name)))
  return { model, tokenizer: own ? model : join(dirname(model), 'tokenizer') }
}

const typed = z.looseObject({ model_type: z.string() })

/** The `model_type` of a text encoder's folder, such as `t5`. @throws ERR_FILE where there is no config.json */
export const textEncoderType = (folder: string): string =>
  readConfigFile(typed, join(foldersOf(resolve(folder)).model, 'config.json')).model_type

function loadFolder(path: string, device: string): TextEncoder {
  const folders = foldersOf(resolve(path))
  const source = join(folders.model, 'config.json')
  const json = readConfigFile(typed, source)
  if (!Object.hasOwn(kinds, json.model_type))
    throw new StarError(
      'ERR_CONFIG',
      `${source} is of a "${json.model_type}", expected a text encoder of the kind ${Object.keys(kinds).join(' or ')}`,
    )
  return kinds[json.model_type](json, source, folders.model, folders.tokenizer, device)
}

/**
 * Loads a text encoder: one of `textEncoderNames`, or by the path of a Hugging Face folder with a CLIP text model or a T5
 * model (config.json, weights, tokenizer files).
 * @throws ERR_CONFIG for an unknown name or kind, ERR_FILE when files are missing or damaged, ERR_SHAPE when weights and
 * configuration do not fit each other
 */
export function loadTextEncoder(nameOrFolder: string, device: string): TextEncoder {
  if (Object.hasOwn(shipped, nameOrFolder)) {
    const folder = join(packageRoot, 'models', nameOrFolder)
    if (!existsSync(folder))
      throw new StarError(
        'ERR_FILE',
        `the text encoder ${nameOrFolder} is not in ${folder}: reinstall star-t2i, or restore the folder`,
      )
    return loadShipped(nameOrFolder, folder, device)
  }
  if (isFolder(nameOrFolder)) return loadFolder(nameOrFolder, device)
  throw new StarError(
    'ERR_CONFIG',
    `there is no text encoder or folder "${nameOrFolder}"; known are ${textEncoderNames.join(', ')}, or give the path of a ` +
      'Hugging Face folder with a CLIP text model or a T5 model',
  )
}

/** What model.json is to name for an encoder: the whole path of a folder, or the name of a shipped one or on Hugging Face. */
export function textEncoderReference(nameOrFolder: string): string {
  return isFolder(nameOrFolder) && !Object.hasOwn(shipped, nameOrFolder) ? resolve(nameOrFolder) : nameOrFolder
}
