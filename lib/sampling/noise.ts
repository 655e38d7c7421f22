/** Where sampling takes its random numbers from. */

import type { Tensor } from '../tensor/index.js'
import { Random } from '../tensor/index.js'

/** One call per use, in the order of sampling, so that any recorded noise can be played back. */
export interface NoiseSource {
  /** Uniforms in [0, 1) that decide which tokens are drawn: (rows). */
  draw(rows: number): Tensor
  /** Uniforms in [0, 1) that order the positions of each sample: (batch, length). */
  order(batch: number, length: number): Tensor
  /** Gumbel noise −log(−log u): (rows, vocab). */
  gumbel(rows: number, vocab: number): Tensor
}

/** Noise from a seed. */
export function seededNoise(seed: number, device?: string): NoiseSource {
  const random = new Random(seed)
  return {
    draw: (rows) => random.uniform([rows], { device }),
    order: (batch, length) => random.uniform([batch, length], { device }),
    gumbel: (rows, vocab) => random.gumbel([rows, vocab], { device }),
  }
}
