/** Numeric gradient check: analytic gradients against central differences along random directions and single elements. */
import { backward, clearTape, mulSum, noGrad, scope, Tensor } from '../../lib/tensor/index.js'

export interface GradcheckOptions {
  /** Step of the central difference. */
  step?: number
  /** Largest |numeric − analytic| / max(1, |numeric|). */
  tolerance?: number
}

/** Deterministic values in [−1, 1). */
export function signedValues(count: number, salt = 1): Float32Array {
  let state = (0x9e3779b9 * (salt + 1)) >>> 0
  return Float32Array.from({ length: count }, () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state / 0x80000000 - 1
  })
}

/** A tensor of deterministic values in [−scale, scale). */
export function signed(shape: readonly number[], salt = 1, scale = 1): Tensor {
  const values = signedValues(
    shape.reduce((n, d) => n * d, 1),
    salt,
  )
  return Tensor.from(
    values.map((v) => v * scale),
    shape,
  )
}

/**
 * Checks d(Σ fn(inputs)·w)/d(input) for fixed random w, for every input with requiresGrad.
 * Returns the largest relative error; throws nothing, so that the test asserts on it.
 */
export function gradcheck(
  fn: (...inputs: Tensor[]) => Tensor,
  inputs: Tensor[],
  options: GradcheckOptions = {},
): number {
  const step = options.step ?? 1e-2
  let weight: Float32Array | undefined
  const objective = (): number =>
    noGrad(() =>
      scope(() => {
        const y = fn(...inputs).floats()
        weight ??= signedValues(y.length, 77)
        return y.reduce((sum, v, i) => sum + v * weight![i], 0)
      }),
    )
  objective()
  scope(() => {
    const y = fn(...inputs)
    backward(mulSum(y, Tensor.from(weight!, y.shape)))
  })
  clearTape()
  let worst = 0
  for (const input of inputs) {
    if (!input.requiresGrad) continue
    const original = input.floats()
    const grad = input.grad ? input.grad.floats() : new Float32Array(original.length)
    // Along a random direction (all elements at once), then a few elements alone.
    const directions: Float32Array[] = [signedValues(original.length, 5)]
    for (let k = 0; k < Math.min(4, original.length); k++) {
      const single = new Float32Array(original.length)
      single[Math.floor((k * original.length) / 4)] = 1
      directions.push(single)
    }
    for (const direction of directions) {
      const norm = Math.sqrt(direction.reduce((s, v) => s + v * v, 0))
      const h = step / Math.max(1, norm / Math.sqrt(8))
      input.write(original.map((v, i) => v + h * direction[i]))
      const up = objective()
      input.write(original.map((v, i) => v - h * direction[i]))
      const down = objective()
      input.write(original)
      const numeric = (up - down) / (2 * h)
      const analytic = grad.reduce((s, g, i) => s + g * direction[i], 0)
      worst = Math.max(worst, Math.abs(numeric - analytic) / Math.max(1, Math.abs(numeric)))
    }
    input.grad?.dispose()
    input.grad = null
  }
  return worst
}
