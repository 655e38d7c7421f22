/** A whole CLIP model (Radford et al. 2021) in the layout of transformers' CLIPModel: how well do a picture and a text agree? */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { parseConfig, readConfigFile } from '../../config/parse-config.js'
import { StarError } from '../../native/index.js'
import { Conv2d, LayerNorm, Linear, Module } from '../../nn/index.js'
import {
  add,
  concat,
  div,
  full,
  matmul,
  noGrad,
  reshape,
  scope,
  slice,
  sqrt,
  square,
  type Tensor,
  zeros,
} from '../../tensor/index.js'
import { openWeights } from '../../weights/index.js'
import { ClipLayer, ClipTextModel, clipTextSchema } from '../text/clip.js'
import { ModelTextEncoder, statePooling } from '../text/encoder.js'
import { loadTokenizer } from '../text/tokenizer-files.js'

// What a configuration leaves out are transformers' defaults, which are those of ViT-B/32.
const textDefaults = {
  model_type: 'clip_text_model',
  vocab_size: 49408,
  hidden_size: 512,
  intermediate_size: 2048,
  num_hidden_layers: 12,
  num_attention_heads: 8,
  max_position_embeddings: 77,
  hidden_act: 'quick_gelu',
  layer_norm_eps: 1e-5,
} as const
const positive = z.int().min(1)
const visionSchema = z.object({
  hidden_size: positive.default(768),
  intermediate_size: positive.default(3072),
  num_hidden_layers: positive.default(12),
  num_attention_heads: positive.default(12),
  image_size: positive.default(224),
  patch_size: positive.default(32),
  hidden_act: z.enum(['gelu', 'quick_gelu']).default('quick_gelu'),
  layer_norm_eps: z.number().positive().default(1e-5),
})
const configSchema = z.object({
  model_type: z.literal('clip'),
  projection_dim: positive.default(512),
  text_config: z.preprocess((given) => ({ ...textDefaults, ...(given as object) }), clipTextSchema),
  vision_config: visionSchema,
})
type VisionConfig = z.output<typeof visionSchema>

/** The image half: patches and a class token through blocks, whose class token is the picture. Names are the released ones. */
class ClipVisionModel extends Module {
  readonly patches: Conv2d
  readonly classToken: Tensor
  readonly positions: Tensor
  readonly before: LayerNorm
  readonly layers: ClipLayer[]
  readonly after: LayerNorm

  constructor(config: VisionConfig, device: string) {
    super()
    const { hidden_size: width, image_size, patch_size: kernel, layer_norm_eps: eps } = config
    const options = { init: null, device }
    this.classToken = this.param('embeddings.class_embedding', zeros([width], { device }))
    this.patches = this.child(
      'embeddings.patch_embedding',
      new Conv2d(3, width, { ...options, kernel, stride: kernel, padding: 0, bias: false }),
    )
    const length = Math.floor(image_size / kernel) ** 2 + 1
    this.positions = this.param('embeddings.position_embedding.weight', zeros([length, width], { device }))
    // Spelled like this in the released files.
    this.before = this.child('pre_layrnorm', new LayerNorm(width, { eps, device }))
    this.layers = Array.from({ length: config.num_hidden_layers }, (_, i) =>
      this.child(`encoder.layers.${i}`, new ClipLayer(config, options)),
    )
    this.after = this.child('post_layernorm', new LayerNorm(width, { eps, device }))
  }

  /** @param images (n, side, side, 3), normalised @returns (n, W) */
  forward(images: Tensor): Tensor {
    const [n] = images.shape
    const width = this.classToken.count
    const patches = this.patches.forward(images)
    const tokens = reshape(patches, [n, patches.dim(1) * patches.dim(2), width])
    const first = add(zeros([n, 1, width], { device: images.device }), this.classToken)
    let x = this.before.forward(add(concat([first, tokens], 1), this.positions)) // (n, T, W)
    for (const layer of this.layers) x = scope(() => layer.forward(x, null))
    return this.after.forward(reshape(slice(x, 1, 0, 1), [n, width]))
  }
}

/** Divides each row by its length: (n, d) → the same shape. */
function unitRows(x: Tensor): Tensor {
  const squares = matmul(square(x), full([x.dim(1), 1], 1, { device: x.device })) // (n, 1)
  return div(x, sqrt(squares))
}

class ClipNetworks extends Module {
  readonly text: ClipTextModel
  readonly vision: ClipVisionModel
  readonly textProjection: Linear
  readonly visionProjection: Linear

  constructor(config: z.output<typeof configSchema>, device: string) {
    super()
    const { text_config, vision_config, projection_dim } = config
    const options = { init: null, device, bias: false }
    this.text = this.child('', new ClipTextModel(text_config, { init: null, device }))
    this.vision = this.child('vision_model', new ClipVisionModel(vision_config, device))
    this.textProjection = this.child('text_projection', new Linear(text_config.hidden_size, projection_dim, options))
    this.visionProjection = this.child(
      'visual_projection',
      new Linear(vision_config.hidden_size, projection_dim, options),
    )
  }
}

/** Tensors of the files that the score does not need. */
const unused = /^logit_scale$|\.position_ids$/

export class Clip {
  readonly #networks: ClipNetworks
  readonly #text: ModelTextEncoder<ClipTextModel>

  private constructor(
    networks: ClipNetworks,
    text: ModelTextEncoder<ClipTextModel>,
    /** Width and height of the images it takes. */
    readonly imageSide: number,
  ) {
    this.#networks = networks
    this.#text = text
  }

  /**
   * Loads a Hugging Face folder with a CLIP model: config.json, weights and tokenizer files.
   * @throws ERR_FILE when files are missing or damaged, ERR_CONFIG for another kind of model, ERR_SHAPE when its parts do not fit
   */
  static load(folder: string, { device = 'cpu' }: { device?: string } = {}): Clip {
    const source = join(folder, 'config.json')
    if (!existsSync(source))
      throw new StarError(
        'ERR_FILE',
        `${folder} holds no CLIP model: there is no config.json; give a folder of Hugging Face`,
      )
    const json = readConfigFile(z.looseObject({ model_type: z.string().optional() }), source)
    if (json.model_type !== 'clip')
      throw new StarError(
        'ERR_CONFIG',
        `${source} is of a "${json.model_type}", expected a whole CLIP model, text and pictures ("clip"), such as the folder of openai/clip-vit-large-patch14`,
      )
    const config = parseConfig(configSchema, json, source)
    const tokenizer = loadTokenizer(folder, 'clip')
    if (tokenizer.size > config.text_config.vocab_size)
      throw new StarError(
        'ERR_CONFIG',
        `${source} has a vocab_size of ${config.text_config.vocab_size}, but the tokenizer has ${tokenizer.size} ids: take both from the same model`,
      )
    using weights = openWeights(folder)
    const networks = scope(() => new ClipNetworks(config, device))
    try {
      scope(() => networks.load(weights.tensors({ filter: (name) => !unused.test(name) })))
    } catch (error) {
      networks.dispose()
      if (!(error instanceof StarError) || error.code !== 'ERR_SHAPE') throw error
      throw new StarError(
        'ERR_SHAPE',
        `${folder}: ${error.message}. Take weights and config.json from the same model`,
        {
          cause: error,
        },
      )
    }
    networks.setTrainable(false)
    const text = new ModelTextEncoder(networks.text, tokenizer, {
      name: 'clip',
      maxLength: config.text_config.max_position_embeddings,
      pooling: statePooling(tokenizer.endId),
    })
    return new Clip(networks, text, config.vision_config.image_size)
  }

  /** Unit vectors of texts: (n, D). The caller (or its scope) owns it. */
  textVectors(texts: readonly string[]): Tensor {
    return noGrad(() => scope(() => unitRows(this.#networks.textProjection.forward(this.#text.encode(texts).pooled))))
  }

  /**
   * Unit vectors of images: (n, D). The caller (or its scope) owns it.
   * @param images (n, side, side, 3), normalised as CLIP's
   */
  imageVectors(images: Tensor): Tensor {
    return noGrad(() =>
      scope(() => unitRows(this.#networks.visionProjection.forward(this.#networks.vision.forward(images)))),
    )
  }

  dispose(): void {
    this.#networks.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
