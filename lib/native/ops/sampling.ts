/** Types of the sampling ops (native/binding/sampling.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

/** Shapes are documented beside the ops in lib/tensor/ops/sampling.ts. */
export interface SamplingOps {
  /** [ids i32, probability] */
  draw(logits: NativeTensor, uniform: NativeTensor, topK: number, topP: number): [NativeTensor, NativeTensor]
  filterProbabilities(logits: NativeTensor, topK: number, topP: number): NativeTensor
  gumbelMix(
    logits: NativeTensor,
    noise: NativeTensor,
    codebook: NativeTensor,
    topK: number,
    topP: number,
    factor: number,
    temperature: number,
  ): NativeTensor
  /** Changes ids and known in place. */
  unmask(
    ids: NativeTensor,
    known: NativeTensor,
    drawn: NativeTensor,
    score: NativeTensor,
    fix: number,
    amongAll: boolean,
  ): void
}
