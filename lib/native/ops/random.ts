/** Types of the random ops (native/binding/random.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

export type RandomName = 'uniform' | 'normal' | 'truncatedNormal' | 'gumbel'

export interface RandomOps {
  /**
   * f32 numbers of the Philox stream `seed` from block `offset` on, four a block: uniform in [a, b), or a + b·z with z normal
   * (truncated to |z| ≤ 2 when so named), or standard Gumbel.
   */
  random(
    shape: readonly number[],
    device: string,
    kind: RandomName,
    a: number,
    b: number,
    seedLow: number,
    seedHigh: number,
    offset: number,
  ): NativeTensor
}
