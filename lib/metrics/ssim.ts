/** Structural similarity of pictures. */
import { add, affine, conv2d, div, mean, mul, noGrad, scope, square, sub, Tensor } from '../tensor/index.js'

const taps = 11
/** Shortest side of pictures that it is defined for. */
export const ssimSide = taps
const deviation = 1.5
const c1 = 0.01 ** 2
const c2 = 0.03 ** 2

const window = ((): Float32Array => {
  const values = Float64Array.from({ length: taps }, (_, i) => Math.exp(-((i - 5) ** 2) / (2 * deviation ** 2)))
  const sum = values.reduce((a, b) => a + b, 0)
  return Float32Array.from(values, (value) => value / sum)
})()

/**
 * Mean structural similarity (Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity"):
 * the mean over places and channels of (2μ_aμ_b + c₁)(2σ_ab + c₂) / ((μ_a² + μ_b² + c₁)(σ_a² + σ_b² + c₂)), where means, variances
 * and covariance are those of a Gaussian window of 11×11 pixels with deviation 1.5 that lies inside the picture, of values in [0, 1],
 * c₁ = 0.01² and c₂ = 0.03².
 * @param a (n, h, w, 3) in [−1, 1], h and w at least 11; b has the same shape
 * @returns the mean over all pictures, 1 where a and b are equal
 */
export function ssim(a: Tensor, b: Tensor): number {
  return noGrad(() =>
    scope(() => {
      const { device } = a
      const [x, y] = [a, b].map((images) => affine(images, null, 0.5, 0, 0.5)) // [0, 1]
      const all = Float32Array.from({ length: 3 * taps }, (_, i) => window[i % taps])
      const columns = Tensor.from(all, [3, 1, taps, 1], { device })
      const rows = Tensor.from(all, [3, 1, 1, taps], { device })
      const blurred = (image: Tensor): Tensor =>
        scope(() => conv2d(conv2d(image, columns, null, { groups: 3 }), rows, null, { groups: 3 }))
      const [mx, my] = [blurred(x), blurred(y)]
      const product = mul(mx, my)
      const squares = add(square(mx), square(my))
      const covariance = sub(blurred(mul(x, y)), product)
      const variances = sub(blurred(add(square(x), square(y))), squares)
      const above = mul(add(mul(product, 2), c1), add(mul(covariance, 2), c2))
      return mean(div(above, mul(add(squares, c1), add(variances, c2)))).item()
    }),
  )
}
