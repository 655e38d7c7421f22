/** The published transformer checkpoints: the configuration derived from their tensors and settings. */
import { StarError } from '../../native/index.js'
import { type CrossAttentionMode, crossAttentionModes, type StarConfig, starConfig, tokenCount } from './config.js'

/** Shapes of named tensors. */
export type Shapes = ReadonlyMap<string, readonly number[]>

/** Sides of the scales of the published models, by the side of their pictures. */
export const publishedScales: ReadonlyMap<number, readonly number[]> = new Map([
  [256, [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]],
  [512, [1, 2, 3, 4, 6, 9, 13, 18, 24, 32]],
  [1024, [1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64]],
])

/** The embedding of classes in released files, (1001, C), left from the program that STAR grew out of; nothing reads it. */
export const classEmbedding = { name: 'class_emb.weight', rows: 1001 }

/** Tensors of released files that carry nothing for this model: constants that follow from the scales, and that embedding. */
export const releasedLeftovers = /^(class_emb\.weight|lvl_1L|attn_bias_for_masking|freqs_cis)$/

/** Tensors of the sampler head, which stand among those of the transformer in the files of star-1024-sampler. */
export const samplerHeadNames =
  /^(word_embed_head|feat_extract_blocks|head_logits2|encoder_proj2|head_proj|lvl_embed_2|pos_start_last)(\.|$)/

/** What shapes cannot tell. What is not given is looked for in the checkpoint, then taken as published. */
/** What a checkpoint may leave open. */
export interface ReleasedOptions {
  /** Sides of the token maps, coarse to fine. */
  patchNums?: readonly number[]
  /** Whose text a picture attends to. */
  crossAttention?: CrossAttentionMode
  /** Base of the rotations' frequencies. */
  ropeTheta?: number
  /** Coordinate of the last row and column of every scale. */
  ropeNorm?: number
  /** Sampling version that the model is for: 'old' stands for rotations of base 100 and norm 32. */
  version?: '1024' | 'new' | 'old'
}

/** Rotations of the models that the reference implementation samples by version 'old', and its constructor's own. */
const oldRotations = { ropeTheta: 100, ropeNorm: 32 }

/** Settings beside the tensors, as a checkpoint names them: `trainer.config.patch_nums.0`, `args.rope_theta`, … */
export type ReleasedValues = ReadonlyMap<string, unknown>

/** The scales that a checkpoint says it was trained with, in its settings or, once converted, in its metadata. */
export function scalesOf(values: ReleasedValues): number[] | undefined {
  const scales: number[] = []
  const at = (i: number): unknown => values.get(`trainer.config.patch_nums.${i}`)
  for (let value = at(0); typeof value === 'number'; value = at(scales.length)) scales.push(value)
  if (scales.length > 0) return scales
  const text = values.get('patch_nums')
  return typeof text === 'string' ? text.split(' ').map(Number) : undefined
}

/** The mode of cross-attention that was saved, which the reference's own checkpoints do not say: it has one alone. */
export function crossAttentionOf(values: ReleasedValues): CrossAttentionMode {
  const saved = values.get('args.cross_attention') ?? values.get('crossAttention')
  return crossAttentionModes.find((mode) => mode === saved) ?? 'first-sample'
}

/** The rotations as given or saved, or those of version 'old'; undefined where nothing says them. */
export function rotationsOf(
  values: ReleasedValues,
  options: ReleasedOptions,
): { ropeTheta?: number; ropeNorm?: number } {
  // Numbers of a converted file's metadata are texts.
  const saved = (name: string): number | undefined => {
    const value = Number(values.get(`args.${name}`) ?? values.get(name))
    return value > 0 ? value : undefined
  }
  const old = options.version === 'old' ? oldRotations : undefined
  return {
    ropeTheta: options.ropeTheta ?? saved('rope_theta') ?? old?.ropeTheta,
    ropeNorm: options.ropeNorm ?? saved('rope_norm') ?? old?.ropeNorm,
  }
}

const text = (scales: readonly number[]): string => scales.join(' ')

/** The scales: as given or saved, or the published ones of that number and length, where only one list fits. */
function findScales(shapes: Shapes, width: number, values: ReleasedValues, given?: readonly number[]): number[] {
  const count = shapes.get('lvl_embed.weight')?.[0]
  const length = shapes.get('pos_1LC')?.[1]
  const fits = (scales: readonly number[]): boolean =>
    (count === undefined || scales.length === count) && (length === undefined || tokenCount(scales) === length)
  const known = given ?? scalesOf(values)
  if (known) {
    if (!fits(known))
      throw new StarError(
        'ERR_CONFIG',
        `the scales ${text(known)} do not fit the weights, which have ${count ?? 'any number of'} scales` +
          `${length === undefined ? '' : ` of ${length} tokens`} (width ${width}): give those the model was trained with`,
      )
    return [...known]
  }
  const candidates = [...publishedScales].filter(([, scales]) => fits(scales))
  if (candidates.length !== 1)
    throw new StarError(
      'ERR_CONFIG',
      `the checkpoint does not say its scales, and its weights (${count ?? 'unknown'} scales) fit ` +
        `${candidates.map(([side, scales]) => `${side}² (${text(scales)})`).join(' and ') || 'no published model'}: give the sides of its token maps (patchNums, --scales)`,
    )
  return [...candidates[0][1]]
}

function dim(shapes: Shapes, name: string, index: number): number {
  const shape = shapes.get(name)
  if (!shape || shape.length <= index)
    throw new StarError(
      'ERR_SHAPE',
      `the weights are not those of a STAR transformer: ${shape ? `${name} has shape (${shape.join(', ')})` : `${name} is missing`}. ` +
        'Name the dictionary they are in, such as trainer.var_wo_ddp',
    )
  return shape[index]
}

/** Whether these are the tensors of a STAR transformer. */
export const isStarTransformer = (shapes: Shapes): boolean =>
  ['word_embed.weight', 'head_logits.weight', 'blocks.0.attn.mat_qkv.weight'].every((name) => shapes.has(name))

/**
 * The configuration of a checkpoint's transformer: sizes and most options from shapes and names; scales, rotation and the
 * norm before the head from the settings it holds; the rest as published. Cross-attention is `first-sample` unless it is
 * given, because that is what the released weights were trained with.
 * @param shapes tensors of the transformer by their own names
 * @param values settings of the whole checkpoint
 * @throws ERR_SHAPE when they are no transformer's, ERR_CONFIG when the scales are not known or do not fit
 */
export function releasedStarConfig(
  shapes: Shapes,
  values: ReleasedValues = new Map(),
  options: ReleasedOptions = {},
): StarConfig {
  const width = dim(shapes, 'word_embed.weight', 0)
  const names = [...shapes.keys()]
  const depth = new Set(names.flatMap((name) => /^blocks\.(\d+)\./.exec(name)?.[1] ?? [])).size
  const attnL2Norm = shapes.has('blocks.0.attn.scale_mul_1H11')
  const flag = (name: string): boolean => values.get(name) !== false
  const saved = crossAttentionOf(values)
  return starConfig({
    depth,
    width,
    // The published models have heads of 64 channels; where queries are normalised, there is a scale for each head.
    heads: attnL2Norm ? dim(shapes, 'blocks.0.attn.scale_mul_1H11', 1) : width / 64,
    patchNums: findScales(shapes, width, values, options.patchNums),
    vocabSize: dim(shapes, 'head_logits.weight', 0),
    latentChannels: dim(shapes, 'word_embed.weight', 1),
    textWidth: dim(shapes, 'encoder_proj.weight', 1),
    mlpRatio: dim(shapes, 'blocks.0.ffn.fc1.weight', 0) / width,
    attnL2Norm,
    rope: !shapes.has('pos_1LC'),
    ...rotationsOf(values, options),
    levelEmbedding: shapes.has('lvl_embed.weight') && flag('args.lvl_emb'),
    logitNorm: flag('args.logit_norm'),
    sharedAdaLN: shapes.has('lvl_embed_proj.weight'),
    enableCross: shapes.has('blocks.0.cross_attn.mat_q.weight'),
    crossAttention: options.crossAttention ?? saved,
  })
}
