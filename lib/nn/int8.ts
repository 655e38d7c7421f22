/**
 * Weights in 8 bits among other weights: two tensors, NAME in i8 and NAME_scale in f32, of what is one tensor in a float type. A
 * module takes either form, whichever it has itself.
 */
import { dequantizeRows, quantizeRows, scaleName, scope, type Tensor } from '../tensor/index.js'

/** The weight whose scales have this name, among a module's own tensors; null for other names. */
export function weightOfScale(name: string, own: ReadonlyMap<string, Tensor>): string | null {
  const weight = name.slice(0, -scaleName('').length)
  return scaleName(weight) === name && own.get(weight)?.dtype === 'i8' ? weight : null
}

/** A tensor of a module or of a file with its scales, which a float type has none of. */
export interface ScaledTensor {
  tensor: Tensor
  scale: Tensor | undefined
}

/**
 * Copies a matrix (N, K) from one form into the other, or a tensor as it is, cast to the type of `to`.
 * @throws ERR_SHAPE when the shapes differ
 */
export function copyWeight(to: ScaledTensor, from: ScaledTensor): void {
  if (from.scale && !to.scale)
    scope(() => to.tensor.copyFrom(dequantizeRows({ q: from.tensor, scale: from.scale! }, 'f32')))
  else if (to.scale && !from.scale)
    scope(() => {
      const { q, scale } = quantizeRows(from.tensor)
      to.tensor.copyFrom(q)
      to.scale!.copyFrom(scale)
    })
  else to.tensor.copyFrom(from.tensor)
}

/** The weights with each matrix in 8 bits as f32, and without its scales; in the current scope. */
export function inFloats(weights: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const floats = new Map(weights)
  for (const [name, q] of weights) {
    const scale = q.dtype === 'i8' ? weights.get(scaleName(name)) : undefined
    if (!scale) continue
    floats.set(name, dequantizeRows({ q, scale }))
    floats.delete(scaleName(name))
  }
  return floats
}
