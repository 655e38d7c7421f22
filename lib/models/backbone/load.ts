/** Weights of a backbone: the published checkpoint or what was made from it, with batch normalisation folded into convolutions. */
import { StarError } from '../../native/index.js'
import { affine, mul, noGrad, reciprocal, reshape, scope, sqrt, sub, type Tensor } from '../../tensor/index.js'
import { openWeights } from '../../weights/index.js'
import { backboneFile } from './cache.js'
import { EfficientNetLite0 } from './efficientnet.js'

/** ε of the published batch normalisations. */
const epsilon = 1e-3

/** The normalisation behind a convolution, by the names of the published state dict. */
const normOf = (convolution: string): string =>
  convolution
    .replace(/_conv_stem$|_expand_conv$/, '_bn0')
    .replace(/_depthwise_conv$|_conv_head$/, '_bn1')
    .replace(/_project_conv$/, '_bn2')

/** A batch normalisation behind a convolution, each part (O). */
export interface Normalisation {
  weight: Tensor
  bias: Tensor
  running_mean: Tensor
  running_var: Tensor
}

/**
 * Takes a normalisation γ·(y − μ)/√(σ² + ε) + β into the convolution before it: w ← w·γ/√(σ² + ε), bias = β − μ·γ/√(σ² + ε).
 * @param weight (O, I, KH, KW)
 */
export function foldNormalisation(
  weight: Tensor,
  norm: Normalisation,
  epsilon: number,
): { weight: Tensor; bias: Tensor } {
  const factor = mul(norm.weight, reciprocal(sqrt(affine(norm.running_var, null, 1, 0, epsilon)))) // (O)
  return {
    weight: mul(weight, reshape(factor, [factor.count, 1, 1, 1])),
    bias: sub(norm.bias, mul(norm.running_mean, factor)),
  }
}

/**
 * Folds all normalisations.
 * @param weights a published state dict; not changed
 * @returns weights by the names of `EfficientNetLite0`, in the current scope
 * @throws ERR_SHAPE when a normalisation is missing
 */
export function foldNormalisations(weights: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const folded = new Map<string, Tensor>()
  noGrad(() => {
    for (const [name, weight] of weights) {
      const convolution = /^(.*_conv(?:_stem|_head)?)\.weight$/.exec(name)?.[1]
      if (!convolution) {
        if (name.startsWith('_fc.')) folded.set(name, weight)
        continue
      }
      const norm = normOf(convolution)
      const of = (part: keyof Normalisation): Tensor => {
        const tensor = weights.get(`${norm}.${part}`)
        if (!tensor)
          throw new StarError(
            'ERR_SHAPE',
            `the weights are not those of EfficientNet-Lite0: ${norm}.${part} is missing`,
          )
        return tensor
      }
      const parts = {
        weight: of('weight'),
        bias: of('bias'),
        running_mean: of('running_mean'),
        running_var: of('running_var'),
      }
      const both = foldNormalisation(weight, parts, epsilon)
      folded.set(name, both.weight)
      folded.set(`${convolution}.bias`, both.bias)
    }
  })
  return folded
}

/**
 * A frozen backbone.
 * @param nameOrPath `efficientnet-lite0`, as `star data backbone` has fetched it, or a file with the published state dict
 * @throws ERR_FILE when it is not there, ERR_SHAPE when it is another network's
 */
export function loadBackbone(nameOrPath: string, { device }: { device?: string } = {}): EfficientNetLite0 {
  const file = backboneFile(nameOrPath)
  using weights = openWeights(file)
  const backbone = new EfficientNetLite0({ device })
  try {
    scope(() => backbone.load(foldNormalisations(weights.tensors())))
  } catch (error) {
    backbone.dispose()
    if (!(error instanceof StarError) || error.code !== 'ERR_SHAPE') throw error
    throw new StarError('ERR_SHAPE', `${file}: ${error.message}`, { cause: error })
  }
  return backbone
}
