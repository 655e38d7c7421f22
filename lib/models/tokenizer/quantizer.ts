/**
 * The multi-scale residual quantizer (Tian et al. 2024, "VAR"): a latent becomes K token maps, coarse to fine, each of
 * which codes what the maps before it left over. Latents are NHWC: (B, h, w, Z), and token map k is h_k × w_k (`gridsOf`); of
 * squares h = w = p_K and the maps are p_k × p_k.
 */
import { StarError } from '../../native/index.js'
import { Embedding, type LayerOptions, Module } from '../../nn/index.js'
import {
  add,
  areaPool,
  bicubic,
  concat,
  embedding,
  mse,
  mul,
  nearestRow,
  noGrad,
  reshape,
  scope,
  sub,
  Tensor,
  zeros,
} from '../../tensor/index.js'
import { type Grid, gridsOf, isSame, positionsIn } from '../grid.js'
import { Codebook } from './codebook.js'
import type { TokenizerConfig } from './config.js'
import { Phi } from './phi.js'

/** A latent as tokens. */
export interface Quantized {
  /** Token map of each scale, i32 (B, h_k·w_k). */
  indices: Tensor[]
  /** f̂ after each scale, (B, h, w, Z). */
  fHat: Tensor[]
}

/** What one forward of quantizer training gives. */
export interface QuantizerTraining {
  /** f̂ with the straight-through gradient: its gradient goes to the latent as it is. (B, h, w, Z) */
  fHat: Tensor
  /** Σ_k [ β·mse(stopgrad f̂_k, f) + mse(f̂_k, stopgrad f) ], shape []. */
  loss: Tensor
  /** Token map of each scale, i32 (B, h_k·w_k). */
  indices: Tensor[]
  /** The vectors that were matched against the codebook, all scales after one another: (B·L, Z). No gradient. */
  vectors: Tensor
}

export class MultiScaleQuantizer extends Module {
  readonly phi: Phi
  readonly embedding: Embedding
  /** Use of the codebook, its first values and the revival of unused rows. */
  readonly codebook: Codebook
  readonly #config: TokenizerConfig

  constructor(config: TokenizerConfig, options: Pick<LayerOptions, 'init' | 'device'>) {
    super()
    this.#config = config
    const hits = zeros([config.patchNums.length, config.vocabSize], { device: options.device })
    this.buffer('ema_vocab_hit_SV', hits)
    this.phi = this.child('quant_resi', new Phi(config, options))
    this.embedding = this.child('embedding', new Embedding(config.vocabSize, config.latentChannels, options))
    this.codebook = new Codebook(this.embedding.weight, hits)
  }

  /** Stays f32: which row is nearest must not depend on rounding, and remainders are small differences. */
  override toHalf(): Map<string, Tensor> {
    return new Map()
  }

  /** Number of scales, K. */
  get scales(): number {
    return this.#config.patchNums.length
  }

  /**
   * Tokens of a latent and the running f̂; not differentiable.
   * @param replace changes the tokens of scale k, i32 (B, h_k·w_k), before they are added to f̂, so that the scales after it code
   * what the changed ones left over; the tokens returned are the ones from before the change (self-correction, Han et al. 2024,
   * "Infinity", section 3.3)
   */
  quantize(feature: Tensor, replace: (ids: Tensor, k: number) => Tensor = (ids) => ids): Quantized {
    this.#checkFeature('quantize', feature)
    return noGrad(() =>
      scope(() => {
        const indices: Tensor[] = []
        const fHat: Tensor[] = []
        const grids = this.#gridsOf(feature)
        let rest = feature
        for (let k = 0; k < this.scales; k++) {
          const { ids } = this.#match(rest, grids[k])
          const step = this.#spread(this.embedding.forward(replace(ids, k)), k, grids)
          rest = sub(rest, step)
          indices.push(ids)
          fHat.push(k === 0 ? step : add(fHat[k - 1], step))
        }
        return { indices, fHat }
      }),
    )
  }

  /** Codebook rows of a token map of any shape: ids (…) → (…, Z). */
  embedIndices(ids: Tensor): Tensor {
    return embedding(this.embedding.weight, ids)
  }

  /**
   * f̂ after each scale from the token maps i32 (B, h_k·w_k), for as many scales as are given. Not differentiable.
   * @param last the last scale's map; default: the square
   */
  fHatOf(indices: readonly Tensor[], last?: Grid): Tensor[] {
    const grids = gridsOf(this.#config.patchNums, last)
    return noGrad(() =>
      scope(() => {
        const fHat: Tensor[] = []
        indices.forEach((ids, k) => {
          const step = this.#spread(this.embedding.forward(ids), k, grids)
          fHat.push(k === 0 ? step : add(fHat[k - 1], step))
        })
        return fHat
      }),
    )
  }

  /**
   * Teacher-forcing input of the transformer: f̂ after scale k, averaged down to the size of scale k+1, for all scales but
   * the last, flattened in order.
   * @param source a latent (B, h, w, Z), the token maps of at least all scales but the last, or what `quantize` gave
   * @param last the last scale's map where token maps are given; default: the square
   * @returns (B, L − p_1², Z)
   */
  transformerInput(source: Tensor | readonly Tensor[] | Quantized, last?: Grid): Tensor {
    return noGrad(() =>
      scope(() => {
        const fHat = this.#runningSums(source, last)
        if (fHat.length < this.scales - 1)
          throw new StarError(
            'ERR_SHAPE',
            `transformerInput: token maps of ${fHat.length} scales were given, expected ${this.scales - 1} or ${this.scales}`,
          )
        const parts = fHat.slice(0, this.scales - 1).map((f, k) => this.#shrink(f, this.#gridsOf(f)[k + 1]))
        return parts.length > 0
          ? concat(parts, 1)
          : Tensor.empty([batchOf(source), 0, this.#config.latentChannels], { device: this.embedding.weight.device })
      }),
    )
  }

  #runningSums(source: Tensor | readonly Tensor[] | Quantized, last?: Grid): Tensor[] {
    if (source instanceof Tensor) return this.quantize(source).fHat
    return 'fHat' in source ? source.fHat : this.fHatOf(source.slice(0, this.scales - 1), last)
  }

  /**
   * One step of sampling: adds the rows chosen at scale k to f̂.
   * @param fHat f̂ after the scale before, null at the first
   * @param codes codebook rows (or a soft mix of them) of scale k: (B, h_k, w_k, Z) or (B, h_k·w_k, Z)
   * @param last the last scale's map; default: the square
   * @returns f̂ (B, h, w, Z), and the transformer's input at scale k+1, (B, h_{k+1}·w_{k+1}, Z), null after the last scale
   */
  nextInput(k: number, fHat: Tensor | null, codes: Tensor, last?: Grid): { fHat: Tensor; next: Tensor | null } {
    const grids = gridsOf(this.#config.patchNums, last)
    return noGrad(() =>
      scope(() => {
        const step = this.#spread(codes, k, grids)
        const sum = fHat ? add(fHat, step) : step
        return { fHat: sum, next: k + 1 < this.scales ? this.#shrink(sum, grids[k + 1]) : null }
      }),
    )
  }

  /**
   * Forward for training. Gradients of the loss reach the latent through the commitment term, and φ and the codebook
   * through every f̂_k; the latent that is matched is a constant.
   */
  train(feature: Tensor): QuantizerTraining {
    this.#checkFeature('train', feature)
    return scope(() => {
      const target = feature.detach()
      const { commitment } = this.#config
      const grids = this.#gridsOf(feature)
      const indices: Tensor[] = []
      const vectors: Tensor[] = []
      let rest = target
      let fHat: Tensor | null = null
      let loss: Tensor | null = null
      for (let k = 0; k < this.scales; k++) {
        const { ids, rows } = this.#match(rest, grids[k])
        const step = this.#spread(this.embedding.forward(ids), k, grids)
        fHat = fHat ? add(fHat, step) : step
        rest = noGrad(() => sub(rest, step))
        const term = add(mse(fHat, target), mul(mse(fHat.detach(), feature), commitment))
        loss = loss ? add(loss, term) : term
        indices.push(ids)
        vectors.push(reshape(rows, [-1, this.#config.latentChannels]))
      }
      const through = add(feature, sub(fHat!, target).detach())
      return { fHat: through, loss: loss!, indices, vectors: concat(vectors, 0) }
    })
  }

  /** The token maps of a latent's shape. */
  #gridsOf({ shape: [, rows, cols] }: Tensor): Grid[] {
    return gridsOf(this.#config.patchNums, { rows, cols })
  }

  /** Nearest codebook rows of the remainder at a scale: rows (B, h_k·w_k, Z), ids (B, h_k·w_k). */
  #match(rest: Tensor, grid: Grid): { ids: Tensor; rows: Tensor } {
    return noGrad(() => {
      const rows = this.#shrink(rest, grid)
      return { ids: nearestRow(rows, this.embedding.weight).ids, rows }
    })
  }

  /** Averages a latent down to a scale's map: (B, h, w, Z) → (B, h_k·w_k, Z). */
  #shrink(latent: Tensor, grid: Grid): Tensor {
    const [batch, rows, cols, channels] = latent.shape
    const small = isSame(grid, { rows, cols }) ? latent : areaPool(latent, grid.rows, grid.cols)
    return reshape(small, [batch, positionsIn(grid), channels])
  }

  /** Enlarges the rows of scale k to the latent and applies φ: (B, h_k·w_k, Z) → (B, h, w, Z). */
  #spread(codes: Tensor, k: number, grids: readonly Grid[]): Tensor {
    const own = grids[k]
    const last = grids[grids.length - 1]
    const z = this.#config.latentChannels
    if (codes.count !== codes.shape[0] * positionsIn(own) * z)
      throw new StarError(
        'ERR_SHAPE',
        `quantizer: codes of shape (${codes.shape.join(', ')}) at scale ${k}, expected (batch, ${positionsIn(own)}, ${z})`,
      )
    const map = reshape(codes, [codes.shape[0], own.rows, own.cols, z])
    return this.phi.forward(k === this.scales - 1 ? map : bicubic(map, last.rows, last.cols), k)
  }

  #checkFeature(name: string, feature: Tensor): void {
    const z = this.#config.latentChannels
    if (feature.rank !== 4 || feature.shape[3] !== z)
      throw new StarError(
        'ERR_SHAPE',
        `quantizer.${name}: the latent has shape (${feature.shape.join(', ')}), expected (batch, h, w, ${z})`,
      )
  }
}

function batchOf(source: Tensor | readonly Tensor[] | Quantized): number {
  if (source instanceof Tensor) return source.shape[0]
  return ('fHat' in source ? source.indices : source)[0].shape[0]
}
