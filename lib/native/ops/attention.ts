/** Types of the attention ops (native/binding/attention.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

/** x (B, L, parts·H·D), heads, parts, part, l2Norm, logScale, rope */
type Part = [NativeTensor, number, number, number, boolean, NativeTensor | null, NativeTensor | null]

/** Shapes are documented beside the ops in lib/tensor/ops/attention.ts. */
export interface AttentionOps {
  heads(...part: Part): NativeTensor
  /** Writes tokens [position, position + L) of a cache (B, capacity, H, D). */
  headsInto(cache: NativeTensor, position: number, ...part: Part): void
  /** Writes the part's slice of dx and returns the gradient of logScale where it is wanted. */
  headsBackward(dx: NativeTensor, dout: NativeTensor, needLogScale: boolean, ...part: Part): NativeTensor | null
  /** [out, lse]; lse is null unless wanted */
  attention(
    q: NativeTensor,
    k: NativeTensor,
    v: NativeTensor,
    keyMask: NativeTensor | null,
    keyLimit: NativeTensor | null,
    keys: number,
    scale: number,
    needLse: boolean,
  ): [NativeTensor, NativeTensor | null]
  /** [dq, dk, dv] */
  attentionBackward(
    dout: NativeTensor,
    out: NativeTensor,
    lse: NativeTensor,
    q: NativeTensor,
    k: NativeTensor,
    v: NativeTensor,
    keyMask: NativeTensor | null,
    keyLimit: NativeTensor | null,
    scale: number,
  ): [NativeTensor, NativeTensor, NativeTensor]
}
