/** Noise with a stream of its own for each image of a batch. */
import { concat, Random, scope, type Tensor } from '../tensor/index.js'
import type { NoiseSource } from './noise.js'

/**
 * Each image draws from the Random of its own seed, so an image does not depend on what else is in its batch: the third
 * image of seed 42 is the first of seed 44.
 */
export function imageNoise(seeds: readonly number[], device?: string): NoiseSource {
  const streams = seeds.map((seed) => new Random(seed))
  const share = (make: (random: Random) => Tensor): Tensor => scope(() => concat(streams.map(make), 0))
  return {
    draw: (rows) => share((random) => random.uniform([rows / streams.length], { device })),
    order: (batch, length) => share((random) => random.uniform([batch / streams.length, length], { device })),
    gumbel: (rows, vocab) => share((random) => random.gumbel([rows / streams.length, vocab], { device })),
  }
}
