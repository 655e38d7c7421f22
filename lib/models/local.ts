/** Models and their parts as files on this machine: by path as they are, by the name of a Hugging Face model downloaded. */
import { existsSync } from 'node:fs'
import { StarError } from '../native/index.js'
import { downloadFromHub, type HubOptions, type HubReference, hubReference, type Wanted } from '../weights/hub.js'
import { publishedTokenizer, type SourceOptions } from './source.js'

export type { HubOptions, HubProgress } from '../weights/hub.js'

const isWeights = (path: string): boolean => /\.(pth|pt|ckpt|bin|safetensors)$/.test(path)
/** Weights of another precision beside the usual ones: `model.fp16.safetensors`. */
const isVariant = (path: string): boolean => /\.(fp16|bf16|non_ema)\b/.test(path)

/** Paths below a folder of the repository, without the folder. */
const below = (folder: string, paths: readonly string[]): string[] =>
  folder === ''
    ? [...paths]
    : paths.flatMap((path) => (path.startsWith(`${folder}/`) ? [path.slice(folder.length + 1)] : []))

const within = (folder: string, paths: readonly string[]): string[] =>
  folder === '' ? [...paths] : paths.map((path) => `${folder}/${path}`)

/** The files of a model folder, or one checkpoint with the tokenizer beside it. @throws ERR_FILE where there is neither */
function modelFiles({ id, path }: HubReference): Wanted {
  return (paths) => {
    if (paths.includes(path)) {
      const folder = path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : ''
      const [tokenizer] = within(folder, [publishedTokenizer])
      return [path, ...(tokenizer !== path && paths.includes(tokenizer) ? [tokenizer] : [])]
    }
    const own = below(path, paths).filter((name) => !name.includes('/'))
    if (own.includes('model.json'))
      return within(
        path,
        own.filter((name) => /^(model\.json|README\.md|.*\.safetensors)$/.test(name)),
      )
    const checkpoints = paths.filter(isWeights)
    throw new StarError(
      'ERR_FILE',
      `${id}${path && `/${path}`} holds no model.json: name one of its checkpoints, ` +
        `${
          checkpoints
            .slice(0, 5)
            .map((name) => `${id}/${name}`)
            .join(', ') || 'of which it has none'
        }`,
    )
  }
}

/** Configuration, tokenizer and weights of a text encoder, in one folder or two (`text_encoder`, `tokenizer`). */
function textEncoderFiles({ path }: HubReference): Wanted {
  return (paths) => {
    const own = below(path, paths).filter((name) => /^((text_encoder|tokenizer)\/)?[^/]+$/.test(name))
    const parts = own.some((name) => name.startsWith('text_encoder/')) ? own.filter((name) => name.includes('/')) : own
    const safetensors = parts.filter((name) => name.endsWith('.safetensors') && !isVariant(name))
    const weights =
      safetensors.length > 0 ? safetensors : parts.filter((name) => name.endsWith('.bin') && !isVariant(name))
    const rest = parts.filter((name) => /\.(json|txt|model)$/.test(name) && !isVariant(name))
    return within(path, [...rest, ...weights])
  }
}

/** The files of a LoRA. */
function loraFiles({ id, path }: HubReference): Wanted {
  return (paths) => {
    if (paths.includes(path)) return [path]
    const own = below(path, paths).filter((name) => /^adapter_(config\.json|model\.(safetensors|bin))$/.test(name))
    if (own.length > 1) return within(path, own)
    throw new StarError(
      'ERR_FILE',
      `${id}${path && `/${path}`} holds no LoRA: it has no adapter_config.json with weights`,
    )
  }
}

async function local(text: string, wanted: (reference: HubReference) => Wanted, options: HubOptions): Promise<string> {
  const reference = existsSync(text) ? undefined : hubReference(text)
  if (!reference) return text
  // What runs write is looked for here only.
  if (/\/model\/?$/.test(text))
    throw new StarError(
      'ERR_FILE',
      `there is no model "${text}" here; a training run writes such a folder at its end: train it first, a tokenizer with "star train-tokenizer", a transformer with "star train", or correct the path`,
    )
  try {
    return await downloadFromHub(reference, wanted(reference), options)
  } catch (error) {
    if (!(error instanceof StarError)) throw error
    throw new StarError(
      error.code,
      `there is no file or folder "${text}" here, and as a model of Hugging Face ${error.message}`,
      {
        cause: error,
      },
    )
  }
}

/**
 * The path of a text encoder: a name or path as it is given, unless only Hugging Face can have it.
 * @throws ERR_FILE when it is neither here nor there
 */
export const localTextEncoder = (nameOrPath: string, options: HubOptions): Promise<string> =>
  local(nameOrPath, textEncoderFiles, options)

/** The path of a LoRA, as `localTextEncoder`. @throws ERR_FILE when it is neither here nor there */
export const localLora = (nameOrPath: string, options: HubOptions): Promise<string> =>
  local(nameOrPath, loraFiles, options)

/**
 * The path of a model, and of the tokenizer that is named for it: downloaded where the name is one of Hugging Face
 * (`org/name`, or `org/name/checkpoint.pth`) and no file or folder here.
 * @throws ERR_FILE when it is neither here nor there
 */
export async function localModel(
  nameOrPath: string,
  options: SourceOptions,
  hub: HubOptions,
): Promise<{ path: string; options: SourceOptions }> {
  const path = await local(nameOrPath, modelFiles, hub)
  const tokenizer = options.tokenizer === undefined ? undefined : await local(options.tokenizer, modelFiles, hub)
  return { path, options: { ...options, tokenizer } }
}
