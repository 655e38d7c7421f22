/** The STAR transformer: logits of every scale's tokens from the text and the coarser scales. */
import { StarError } from '../../native/index.js'
import { buildIn, Embedding, Linear, Module } from '../../nn/index.js'
import {
  add,
  bicubic,
  cast,
  concat,
  type DType,
  embedding,
  keep,
  layerNorm,
  recompute,
  reshape,
  scope,
  silu,
  slice,
  Tensor,
} from '../../tensor/index.js'
import { type Grid, isSame, positionsIn } from '../grid.js'
import type { TextKeysValues } from './attention.js'
import { Block, type BlockContext } from './block.js'
import { type Level, levels, type StarConfig, type StarConfigInput, starConfig } from './config.js'
import type { DropPath } from './drop-path.js'
import { baseStd, headStd, type ModelInit, normalParameter } from './init.js'
import { ropeTable } from './rope.js'
import { ShapeTables } from './shape-tables.js'
import type { TokenSubset } from './token-subset.js'

/** Encoded prompts. The prompt "" is a text like any other; guidance needs it. */
export interface TextInput {
  /** Last hidden states: (B, T, textWidth). */
  states: Tensor
  /** One vector a prompt: (B, textWidth). */
  pooled: Tensor
  /** u8 (B, T): 1 where there is a token, 0 for padding; null: no padding. */
  mask: Tensor | null
}

export interface ForwardInput {
  /** Teacher-forcing input: the running f̂ at the size of each scale but the first, (B, L − p₁², Z). */
  input: Tensor
  text: TextInput
  /** The last scale's map, where pictures are no squares of the model's side; L is then that shape's. */
  grid?: Grid
  /** Computes these tokens alone: `input` holds theirs, and L is their number. Default: all tokens. */
  subset?: TokenSubset | null
  /** Stochastic depth while training; without it every branch runs. */
  dropPath?: DropPath | null
  /** Keeps the input of each block alone and computes the block again during backward: less memory, a third more time. */
  recompute?: boolean
  /** In the mode `first-sample`: each sample attends to its own text, as it would in a batch of its own. */
  independent?: boolean
}

/** SiLU, then a linear layer named `1`, as in the released state dict. */
class LevelModulation extends Module {
  readonly linear: Linear
  constructor(width: number, init: ModelInit) {
    super()
    this.linear = this.child('1', new Linear(width, 6 * width, { ...init, std: baseStd(width, init), int8: false }))
  }
  forward(x: Tensor): Tensor {
    return this.linear.forward(silu(x))
  }
}

export class StarTransformer extends Module {
  readonly config: StarConfig
  /** Scales of a square picture. */
  readonly levels: readonly Level[]
  /** L, tokens over all scales of a square picture. */
  readonly length: number
  readonly device: string | undefined
  readonly posStart: Tensor
  readonly positions: Tensor | null
  readonly wordEmbed: Linear
  readonly levelEmbed: Embedding | null
  readonly levelProjection: Linear | null
  readonly levelModulation: LevelModulation | null
  readonly blocks: readonly Block[]
  readonly headLogits: Linear
  readonly encoderProj: Linear
  readonly #tables: ShapeTables<Tables>

  /** @throws ERR_CONFIG for a configuration that makes no model */
  constructor(input: StarConfigInput, options: Partial<ModelInit> = {}) {
    super()
    const config = starConfig(input)
    const init: ModelInit = { ...options, init: options.init ?? null }
    const { width, patchNums, vocabSize, latentChannels, textWidth } = config
    const std = baseStd(width, init)
    // Of the matrices those of the blocks alone may be in 8 bits: the others are small, or make the logits.
    const layer = { ...init, std, int8: false }
    this.config = config
    this.levels = levels(patchNums)
    this.length = this.levels[this.levels.length - 1].end
    this.device = options.device
    this.posStart = this.param('pos_start', normalParameter([1, this.levels[0].end, width], std, init))
    this.positions = config.rope ? null : this.param('pos_1LC', normalParameter([1, this.length, width], std, init))
    this.wordEmbed = this.child('word_embed', new Linear(latentChannels, width, layer))
    const hasLevels = config.levelEmbedding || config.sharedAdaLN
    this.levelEmbed = hasLevels ? this.child('lvl_embed', new Embedding(patchNums.length, width, layer)) : null
    this.levelProjection = config.sharedAdaLN ? this.child('lvl_embed_proj', new Linear(2 * width, width, layer)) : null
    this.levelModulation = config.sharedAdaLN ? this.child('lvl_embed_adaln', new LevelModulation(width, init)) : null
    this.blocks = Array.from({ length: config.depth }, (_, i) => this.child(`blocks.${i}`, new Block(config, init)))
    // In f32 even where the rest is loaded in 16 bits: guidance multiplies what logits are rounded by.
    const head = buildIn('f32', () => new Linear(width, vocabSize, { ...layer, std: headStd(width, init) }))
    this.headLogits = this.child('head_logits', head)
    this.encoderProj = this.child('encoder_proj', new Linear(textWidth, width, layer))
    this.#tables = new ShapeTables(config.patchNums, (grid) => new Tables(config, grid, options.device))
  }

  override parametersByUse(): Tensor[] {
    return [...new Set([...this.encoderProj.parameters(), ...this.parameters()])]
  }

  /** Element type it computes with, and of its features. Inputs of another one are cast. Logits have the type of the head. */
  get dtype(): DType {
    return this.wordEmbed.weight.dtype
  }

  /** Logits (B, L, V) of every token given the true coarser scales. */
  forward(input: ForwardInput): Tensor {
    return this.logits(this.features(input))
  }

  /** What the logits are made of, (B, L, C): the tokens after all blocks, given the true coarser scales. */
  features({
    input,
    text,
    grid,
    subset = null,
    dropPath = null,
    recompute: again = false,
    independent,
  }: ForwardInput): Tensor {
    this.#check(input, text, subset?.length ?? this.#tables.of(grid).length)
    const { rope, keyLimit, levelIds, positions } = subset ? this.#tablesOf(subset, grid) : this.#allTables(grid)
    const start = this.startTokens(text.pooled)
    const tokens = input.dim(1) > 0 ? concat([start, this.wordEmbed.forward(cast(input, this.dtype))], 1) : start
    const table = this.levelConditions()
    let x = this.#addPositions(tokens, levelIds, positions)
    const attended = this.attendedText(
      text,
      independent ? Array.from({ length: input.dim(0) }, (_, i) => i) : undefined,
    )
    this.blocks.forEach((block, i) => {
      const run = (x: Tensor, states: Tensor | null, table: Tensor | null): Tensor =>
        block.forward(x, {
          rope,
          keyLimit,
          condition: table && { table, ids: levelIds },
          dropPath: dropPath?.[i] ?? null,
          text: states && textKeysValues(block, { states, mask: attended!.mask }),
        })
      const inputs = [x, attended?.states ?? null, table] as const
      x = scope(() => (again ? recompute(run, ...inputs) : run(...inputs)))
    })
    return x
  }

  /** The first scale's tokens: encoder_proj(pooled) + pos_start, (B, p₁², C). */
  startTokens(pooled: Tensor): Tensor {
    const [, first, width] = this.posStart.shape
    const start = reshape(this.encoderProj.forward(cast(pooled, this.dtype)), [pooled.dim(0), 1, width])
    const repeated =
      first === 1
        ? start
        : concat(
            Array.from({ length: first }, () => start),
            1,
          )
    return add(repeated, reshape(this.posStart, [first, width]))
  }

  /**
   * One scale's tokens through all blocks while sampling: (B, h·w, C) → features (B, h·w, C).
   * @param last the last scale's map; default: the square
   */
  runScale(
    scale: number,
    tokens: Tensor,
    contexts: readonly Pick<BlockContext, 'cache' | 'text' | 'branches' | 'onAttention'>[],
    last?: Grid,
  ): Tensor {
    const tables = this.#tables.of(last)
    const { begin, end } = tables.levels[scale]
    const ids = slice(tables.levelIds, 0, begin, end)
    const table = this.levelConditions()
    const condition = table && { table: slice(table, 0, scale, scale + 1), ids: null }
    const rope = tables.rope && slice(tables.rope, 0, begin, end)
    let x = this.#addPositions(tokens, ids, this.#positionsAt(scale, tables.levels[scale]))
    this.blocks.forEach((block, i) => {
      const from = x
      x = scope(() => block.forward(from, { ...contexts[i], rope, condition, dropPath: null }))
      if (from !== tokens) from.dispose()
    })
    return x
  }

  /** head_logits(LN(x)): (…, C) → (…, V). */
  logits(x: Tensor): Tensor {
    const features = cast(x, this.headLogits.weight.dtype)
    return this.headLogits.forward(this.config.logitNorm ? layerNorm(features) : features)
  }

  /**
   * The text that cross-attention reads: of all samples, or in the mode `first-sample` of the rows `first` alone; null without
   * cross-attention.
   */
  attendedText(text: TextInput, first: readonly number[] = [0]): Pick<TextInput, 'states' | 'mask'> | null {
    if (!this.config.enableCross) return null
    const states = cast(text.states, this.dtype)
    if (this.config.crossAttention === 'per-sample') return { states, mask: text.mask }
    const chosen = (x: Tensor): Tensor => {
      const rows = first.map((row) => slice(x, 0, row, row + 1))
      return rows.length === 1 ? rows[0] : concat(rows, 0)
    }
    return { states: chosen(states), mask: text.mask && chosen(text.mask) }
  }

  /** Shared AdaLN: c(level) = adaln(proj(concat(level, last level))) of all scales, (K, 6C). */
  levelConditions(): Tensor | null {
    if (!this.levelProjection || !this.levelModulation || !this.levelEmbed) return null
    const { levelPairs } = this.#tables.of()
    const pairs = reshape(this.levelEmbed.forward(levelPairs), [levelPairs.dim(0), 2 * this.config.width])
    return this.levelModulation.forward(this.levelProjection.forward(pairs))
  }

  override dispose(): void {
    super.dispose()
    this.#tables.dispose()
  }

  /** Ranges of a shape's tokens, the square's by default. */
  levelsOf(last?: Grid): readonly Level[] {
    return this.#tables.of(last).levels
  }

  /** Learnt positions of a scale's tokens, (1, h·w, C): those of the square, interpolated to h × w. */
  #positionsAt(scale: number, grid: Grid): Tensor | null {
    if (!this.positions) return null
    const { begin, end, ...square } = this.levels[scale]
    const own = slice(this.positions, 1, begin, end)
    if (isSame(grid, square)) return own
    const map = bicubic(reshape(own, [1, square.rows, square.cols, -1]), grid.rows, grid.cols) // (1, h, w, C)
    return reshape(map, [1, positionsIn(grid), -1])
  }

  /** Learnt positions of all tokens of a shape, (1, L, C). */
  #positionsOf(last?: Grid): Tensor | null {
    if (!this.positions || !last || isSame(last, this.levels[this.levels.length - 1])) return this.positions
    return concat(
      this.levelsOf(last).map((grid, k) => this.#positionsAt(k, grid)!),
      1,
    )
  }

  #allTables(last?: Grid): TokenTables {
    const { rope, keyLimit, levelIds } = this.#tables.of(last)
    return { rope, keyLimit, levelIds, positions: this.#positionsOf(last) }
  }

  /** The rows of the chosen tokens, whose keys end where those of their scale do. */
  #tablesOf({ positions, levels: chosen, scaleIds }: TokenSubset, last?: Grid): TokenTables {
    const { device } = this
    const { rope, length } = this.#tables.of(last)
    const ids = Tensor.from(positions, [positions.length], { device })
    const rows = (table: Tensor): Tensor => embedding(reshape(table, [length, -1]), ids)
    const learnt = this.#positionsOf(last)
    return {
      rope: rope && reshape(rows(rope), [positions.length, rope.dim(1), 2]),
      keyLimit: Tensor.from(
        scaleIds.map((k) => chosen[k].end),
        [positions.length],
        { device },
      ),
      levelIds: Tensor.from(scaleIds, [positions.length], { device }),
      positions: learnt && rows(learnt),
    }
  }

  #addPositions(tokens: Tensor, levelIds: Tensor, positions: Tensor | null): Tensor {
    const added: Tensor[] = []
    if (this.levelEmbed && this.config.levelEmbedding) added.push(this.levelEmbed.forward(levelIds))
    if (positions) added.push(reshape(positions, [levelIds.dim(0), this.config.width]))
    return added.length > 0
      ? add(
          tokens,
          added.reduce((sum, t) => add(sum, t)),
        )
      : tokens
  }

  #check(input: Tensor, { states, pooled, mask }: TextInput, length: number): void {
    const { latentChannels, textWidth } = this.config
    const batch = pooled.dim(0)
    const expect = (name: string, given: readonly number[], expected: (number | string)[]): void => {
      if (given.length === expected.length && expected.every((d, i) => typeof d === 'string' || d === given[i])) return
      throw new StarError(
        'ERR_SHAPE',
        `transformer: ${name} has shape (${given.join(', ')}), expected (${expected.join(', ')})`,
      )
    }
    expect('text.pooled', pooled.shape, ['B', textWidth])
    expect('text.states', states.shape, [batch, 'T', textWidth])
    if (mask) expect('text.mask', mask.shape, [batch, states.dim(1)])
    expect('input', input.shape, [batch, length - this.levels[0].end, latentChannels])
  }
}

/** Keys and values of a block's cross-attention. */
export function textKeysValues(block: Block, text: Pick<TextInput, 'states' | 'mask'>): TextKeysValues | null {
  return block.cross && { ...block.cross.keysValues(text.states), mask: text.mask }
}

/** What belongs to each of n tokens: rotation (n, D/2, 2), key limit i32 (n), scale i32 (n), learnt position (…, n, C). */
interface TokenTables {
  rope: Tensor | null
  keyLimit: Tensor
  levelIds: Tensor
  positions: Tensor | null
}

/** Constants that follow from the scales of a shape: rotation, key limits, the scale of each token. */
class Tables {
  readonly levels: readonly Level[]
  readonly length: number
  readonly rope: Tensor | null
  readonly keyLimit: Tensor
  readonly levelIds: Tensor
  readonly levelPairs: Tensor

  constructor(config: StarConfig, last: Grid, device?: string) {
    const all = levels(config.patchNums, last)
    const perToken = (f: (level: Level, index: number) => number): Int32Array =>
      Int32Array.from(all.flatMap((level, i) => new Array<number>(level.end - level.begin).fill(f(level, i))))
    const length = all[all.length - 1].end
    const { patchNums, ropeTheta: theta, ropeNorm: norm } = config
    const rotation = { headSize: config.width / config.heads, theta, norm }
    this.levels = all
    this.length = length
    this.rope = config.rope ? keep(ropeTable(patchNums, rotation, device, last)) : null
    this.keyLimit = keep(
      Tensor.from(
        perToken((level) => level.end),
        [length],
        { device },
      ),
    )
    this.levelIds = keep(
      Tensor.from(
        perToken((_, i) => i),
        [length],
        { device },
      ),
    )
    const pairs = Int32Array.from(all.flatMap((_, i) => [i, all.length - 1]))
    this.levelPairs = keep(Tensor.from(pairs, [all.length, 2], { device }))
  }

  dispose(): void {
    this.rope?.dispose()
    this.keyLimit.dispose()
    this.levelIds.dispose()
    this.levelPairs.dispose()
  }
}
