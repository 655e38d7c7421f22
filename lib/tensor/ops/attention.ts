/** Multi-head attention: the heads of a packed projection, and softmax(q·kᵀ)·v. */
import { native, StarError } from '../../native/index.js'
import { needsGrad, record } from '../tape.js'
import { Tensor } from '../tensor.js'

/** What is done to one part (q, k or v) of a packed projection. */
export interface HeadSpec {
  /** Divide each head by max(‖x‖₂, 1e-12). */
  l2Norm?: boolean
  /** With l2Norm: multiply by exp(min(logScale[head], ln 100)). Any shape with H elements. */
  logScale?: Tensor | null
  /** Rotate pairs of channels (2i, 2i+1) of token l by the (cos, sin) in rope[l, i]: (L, D/2, 2). Not differentiated. */
  rope?: Tensor | null
}

const partArguments = (x: Tensor, heads: number, parts: number, part: number, spec: HeadSpec) =>
  [
    x.handle,
    heads,
    parts,
    part,
    spec.l2Norm ?? false,
    spec.logScale?.handle ?? null,
    spec.rope?.handle ?? null,
  ] as const

/**
 * Splits a packed projection into its parts, each made ready for attention:
 * normalised, scaled and rotated as its HeadSpec says; a part without any of these is copied.
 * @param x (B, L, P·H·D), P = parts.length
 * @param heads H
 * @returns P tensors (B, L, H, D)
 * @throws ERR_SHAPE when x does not divide, or a logScale or rope does not fit
 */
export function splitHeads(x: Tensor, heads: number, parts: readonly HeadSpec[]): Tensor[] {
  const outputs = parts.map((spec, i) => new Tensor(native.heads(...partArguments(x, heads, parts.length, i, spec))))
  const count = parts.length
  record({
    name: 'splitHeads',
    inputs: [x, ...parts.map((spec) => spec.logScale)],
    outputs,
    save: [x, ...parts.map((spec) => spec.logScale), ...parts.map((spec) => spec.rope)],
    backward: (saved, grads, needs) => {
      const x = saved[0]
      // A part that nothing depends on gets zeros.
      const dx = grads.includes(null)
        ? new Tensor(native.full(x.shape, x.dtype, x.device, 0))
        : Tensor.empty(x.shape, { dtype: x.dtype, device: x.device })
      const dlogScales = grads.map((grad, i) => {
        if (!grad) return null
        const spec = { l2Norm: parts[i].l2Norm, logScale: saved[1 + i], rope: saved[1 + count + i] }
        const d = native.headsBackward(dx.handle, grad.handle, needs[1 + i], ...partArguments(x, heads, count, i, spec))
        return d && new Tensor(d)
      })
      return [dx, ...dlogScales]
    },
  })
  return outputs
}

/**
 * Writes one part of a packed projection to tokens [position, position + L) of a cache, as splitHeads makes it.
 * Nothing is recorded on the tape.
 * @param x (B, L, parts·H·D)
 * @param cache (B, capacity, H, D)
 * @throws ERR_ARGUMENT when the tokens do not fit the cache
 */
export function writeHeads(
  x: Tensor,
  heads: number,
  parts: number,
  part: number,
  spec: HeadSpec,
  cache: Tensor,
  position: number,
): void {
  native.headsInto(cache.handle, position, ...partArguments(x, heads, parts, part, spec))
}

export interface AttentionOptions {
  /** Factor on q·k; 1 when not given. */
  scale?: number
  /** u8 (B, keys): keys with 0 are seen by no query. */
  keyMask?: Tensor | null
  /** i32 (Lq): query i sees keys j < keyLimit[i]. */
  keyLimit?: Tensor | null
  /** Only the first `keys` tokens of k and v, which are caches then; all when not given. */
  keys?: number
}

/**
 * softmax(scale·q·kᵀ + mask)·v for each sample and head, without ever making the (Lq, Lk) matrix
 * (Dao et al., "FlashAttention", 2022). A query that sees no key gives zeros.
 * @param q (B, Lq, H, D)
 * @param k (B, capacity, H, D)
 * @param v (B, capacity, H, D)
 * @returns (B, Lq, H, D)
 * @throws ERR_ARGUMENT when a gradient is wanted through a part of a cache
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const { scale = 1, keyMask = null, keyLimit = null, keys = k.shape[1] } = options
  const wanted = needsGrad(q, k, v)
  if (wanted && keys !== k.shape[1])
    throw new StarError(
      'ERR_ARGUMENT',
      `attention: the first ${keys} of ${k.shape[1]} cached tokens cannot be differentiated; slice k and v, or use noGrad`,
    )
  const [outHandle, lseHandle] = native.attention(
    q.handle,
    k.handle,
    v.handle,
    keyMask?.handle ?? null,
    keyLimit?.handle ?? null,
    keys,
    scale,
    wanted,
  )
  const out = new Tensor(outHandle)
  if (!lseHandle) return out
  const lse = new Tensor(lseHandle)
  record({
    name: 'attention',
    inputs: [q, k, v],
    outputs: [out],
    save: [out, lse, q, k, v, keyMask, keyLimit],
    backward: ([out, lse, q, k, v, keyMask, keyLimit], [dout]) =>
      native
        .attentionBackward(
          dout!.handle,
          out.handle,
          lse.handle,
          q.handle,
          k.handle,
          v.handle,
          keyMask?.handle ?? null,
          keyLimit?.handle ?? null,
          scale,
        )
        .map((handle) => new Tensor(handle)),
  })
  lse.dispose()
  return out
}
