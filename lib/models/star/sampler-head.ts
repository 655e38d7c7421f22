/**
 * The sampler head (STAR, section on causal-driven stable sampling): logits of a scale's tokens from those already fixed and
 * the transformer's features.
 */
import { StarError } from '../../native/index.js'
import { buildIn, Embedding, Linear, Module } from '../../nn/index.js'
import { add, cast, concat, type DType, keep, layerNorm, reshape, scope, slice, Tensor } from '../../tensor/index.js'
import type { Grid } from '../grid.js'
import { Block } from './block.js'
import { type Level, levels, type StarConfig, type StarConfigInput, starConfig } from './config.js'
import { baseStd, headStd, type ModelInit, normalParameter } from './init.js'
import { ropeTable } from './rope.js'
import { ShapeTables } from './shape-tables.js'

const blockCount = 3

export interface SamplerHeadInput {
  /** Codebook rows of fixed tokens, zeros where a position is open: (B, n, Z). */
  rows: Tensor
  /** The transformer's features of the same tokens: (B, n, C). */
  features: Tensor
  /** Text vectors: (B, textWidth). */
  pooled: Tensor
  /** Index of the first scale whose tokens are given, and the index after the last one. */
  begin: number
  end: number
  /** The last scale's map, where pictures are no squares of the model's side. */
  grid?: Grid
}

/**
 * x = head_proj(e, f) with e = word_embed_head(rows) + lvl_embed_2 and f the features. In front of both stands the text token
 * encoder_proj2(pooled) + pos_start_last, which sees and is seen by all; three blocks without cross-attention in which the
 * other tokens see their own scale; logits = head_logits2(LN(x)). Parameter names are the released ones.
 */
export class SamplerHead extends Module {
  readonly config: StarConfig
  /** Scales of a square picture. */
  readonly levels: readonly Level[]
  readonly device: string | undefined
  readonly posStart: Tensor
  readonly wordEmbed: Linear
  readonly headProj: Linear
  readonly levelEmbed: Embedding
  readonly encoderProj: Linear
  readonly blocks: readonly Block[]
  readonly headLogits: Linear
  readonly #tables: ShapeTables<HeadTables>

  /** @param input the configuration of the transformer it stands on */
  constructor(input: StarConfigInput, options: Partial<ModelInit> = {}) {
    super()
    const config = starConfig({ ...input, enableCross: false, sharedAdaLN: false })
    const init: ModelInit = { ...options, init: options.init ?? null }
    const { width, patchNums, vocabSize, latentChannels, textWidth } = config
    const std = baseStd(width, init)
    // Of the matrices those of the blocks alone may be in 8 bits: the others are small, or make the logits.
    const layer = { ...init, std, int8: false }
    this.config = config
    this.levels = levels(patchNums)
    this.device = options.device
    this.posStart = this.param('pos_start_last', normalParameter([1, 1, width], std, init))
    this.wordEmbed = this.child('word_embed_head', new Linear(latentChannels, width, layer))
    this.blocks = Array.from({ length: blockCount }, (_, i) =>
      this.child(`feat_extract_blocks.${i}`, new Block(config, init)),
    )
    // In f32 as the transformer's.
    const head = buildIn('f32', () => new Linear(width, vocabSize, { ...layer, std: headStd(width, init) }))
    this.headLogits = this.child('head_logits2', head)
    this.encoderProj = this.child('encoder_proj2', new Linear(textWidth, width, layer))
    this.headProj = this.child('head_proj', new Linear(2 * width, width, layer))
    this.levelEmbed = this.child('lvl_embed_2', new Embedding(patchNums.length, width, layer))
    this.#tables = new ShapeTables(patchNums, (grid) => new HeadTables(config, grid, options.device))
  }

  override parametersByUse(): Tensor[] {
    const first = [this.levelEmbed, this.wordEmbed, this.encoderProj].flatMap((layer) => layer.parameters())
    return [...new Set([...first, this.posStart, ...this.headProj.parameters(), ...this.parameters()])]
  }

  /** Element type it computes with. Inputs of another one are cast. Logits have the type of the head. */
  get dtype(): DType {
    return this.wordEmbed.weight.dtype
  }

  /** Ranges of a shape's tokens, the square's by default. */
  levelsOf(last?: Grid): readonly Level[] {
    return this.#tables.of(last).levels
  }

  /** Logits (B, n, V) of the tokens of scales [begin, end). @throws ERR_SHAPE */
  forward({ begin, end, grid, ...inputs }: SamplerHeadInput): Tensor {
    const { dtype } = this
    const { levels: ranges, levelIds, rope: rotations } = this.#tables.of(grid)
    const [rows, features, pooled] = [inputs.rows, inputs.features, inputs.pooled].map((x) => cast(x, dtype))
    const first = ranges[begin].begin
    const last = ranges[end - 1].end
    this.#check(rows, features, pooled, last - first)
    const { width, logitNorm } = this.config
    const levelOfToken = this.levelEmbed.forward(slice(levelIds, 0, first, last))
    const known = add(this.wordEmbed.forward(rows), levelOfToken) // (B, n, C)
    const front = add(
      reshape(this.encoderProj.forward(pooled), [pooled.dim(0), 1, width]),
      reshape(this.posStart, [1, width]),
    ) // (B, 1, C), in the place of both the known token and the feature
    const rope = rotations && concat([slice(rotations, 0, 0, 1), slice(rotations, 0, 1 + first, 1 + last)], 0) // (1 + n, D/2, 2)
    const groups = ranges
      .slice(begin, end)
      .map((level) => ({ begin: 1 + level.begin - first, end: 1 + level.end - first }))
    const pairs = concat([concat([front, known], 1), concat([front, features], 1)], 2)
    let x = this.headProj.forward(pairs) // (B, 1 + n, C)
    for (const block of this.blocks) {
      const from = x
      x = scope(() => block.forward(from, { rope, groups, text: null, condition: null, dropPath: null }))
    }
    const out = cast(slice(x, 1, 1, x.dim(1)), this.headLogits.weight.dtype)
    return this.headLogits.forward(logitNorm ? layerNorm(out) : out)
  }

  override dispose(): void {
    super.dispose()
    this.#tables.dispose()
  }

  #check(rows: Tensor, features: Tensor, pooled: Tensor, length: number): void {
    const { latentChannels, width, textWidth } = this.config
    const batch = pooled.dim(0)
    const expected: [string, Tensor, number[]][] = [
      ['rows', rows, [batch, length, latentChannels]],
      ['features', features, [batch, length, width]],
      ['pooled', pooled, [batch, textWidth]],
    ]
    for (const [name, tensor, shape] of expected)
      if (tensor.shape.join() !== shape.join())
        throw new StarError(
          'ERR_SHAPE',
          `sampler head: ${name} has shape (${tensor.shape.join(', ')}), expected (${shape.join(', ')})`,
        )
  }
}

/** Constants that follow from the scales of a shape. */
class HeadTables {
  readonly levels: readonly Level[]
  /** Rotations of the text token, which is not turned, and of all L tokens: (1 + L, D/2, 2). */
  readonly rope: Tensor | null
  /** Scale of each token: i32 (L). */
  readonly levelIds: Tensor

  constructor(config: StarConfig, last: Grid, device?: string) {
    this.levels = levels(config.patchNums, last)
    this.rope = config.rope ? keep(scope(() => frontedRope(config, last, device))) : null
    const ids = this.levels.flatMap(({ begin, end }, i) => new Array<number>(end - begin).fill(i))
    this.levelIds = keep(Tensor.from(Int32Array.from(ids), [ids.length], { device }))
  }

  dispose(): void {
    this.rope?.dispose()
    this.levelIds.dispose()
  }
}

function frontedRope(config: StarConfig, last: Grid, device: string | undefined): Tensor {
  const { patchNums, ropeTheta: theta, ropeNorm: norm } = config
  const headSize = config.width / config.heads
  const still = Float32Array.from({ length: headSize }, (_, i) => (i % 2 === 0 ? 1 : 0)) // cos 0, sin 0
  return concat(
    [
      Tensor.from(still, [1, headSize / 2, 2], { device }),
      ropeTable(patchNums, { headSize, theta, norm }, device, last),
    ],
    0,
  )
}
