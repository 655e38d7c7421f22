/**
 * Inception v3 (Szegedy et al. 2015, "Rethinking the Inception Architecture") as FID uses it: the network of TensorFlow's
 * inception-2015-12-05, whose state dict pytorch-fid distributes (pt_inception-2015-12-05-6726825d.pth). It differs from
 * torchvision's: averages leave the padding out, and the last block takes a maximum where the others take an average. Batch
 * normalisation (ε = 0.001) is folded into the convolutions. All images are NHWC.
 */
import { StarError } from '../../native/index.js'
import { Module } from '../../nn/index.js'
import {
  areaPool,
  concat,
  conv2d,
  noGrad,
  type Padding,
  relu,
  reshape,
  scope,
  type Tensor,
  zeros,
} from '../../tensor/index.js'
import { openWeights } from '../../weights/index.js'
import { foldNormalisation } from '../backbone/index.js'
import { averagePool3, maxPool3 } from './pooling.js'

/** Width and height of the images it takes. */
export const inceptionSide = 299
/** Number of its features. */
export const inceptionFeatures = 2048
const epsilon = 1e-3
/** Classes of the published classifier, whose weights are not needed but tell it from others. */
const publishedClasses = 1008

interface ConvolutionOptions {
  kernel?: number | readonly [height: number, width: number]
  stride?: number
  /** Zeros on all sides, or above and below, and to the left and right. Default 0. */
  padding?: number | readonly [vertical: number, horizontal: number]
}

/** relu(conv(x) + bias): (n, h, w, inputs) → (n, h′, w′, outputs). */
class Convolution extends Module {
  readonly weight: Tensor
  readonly bias: Tensor
  readonly #options: { stride: number; padding: Padding }

  constructor(
    inputs: number,
    outputs: number,
    { kernel = 1, stride = 1, padding = 0 }: ConvolutionOptions,
    device?: string,
  ) {
    super()
    const [height, width] = typeof kernel === 'number' ? [kernel, kernel] : kernel
    const [vertical, horizontal] = typeof padding === 'number' ? [padding, padding] : padding
    this.weight = this.param('weight', zeros([outputs, inputs, height, width], { device }))
    this.bias = this.param('bias', zeros([outputs], { device }))
    this.#options = { stride, padding: [vertical, horizontal, vertical, horizontal] }
  }

  forward(x: Tensor): Tensor {
    return relu(conv2d(x, this.weight, this.bias, this.#options))
  }
}

/** A convolution of a branch: its name, its outputs, and its options. */
type Step = readonly [name: string, outputs: number, options?: ConvolutionOptions]
/** Convolutions one after another; a list of lists at the end makes several outputs of the last one. */
type Branch = readonly (Step | readonly Step[])[]

const across = { kernel: [1, 7], padding: [0, 3] } as const
const down = { kernel: [7, 1], padding: [3, 0] } as const
const three = { kernel: 3, padding: 1 } as const
const halving = { kernel: 3, stride: 2 } as const
const bothWays = (name: string): readonly Step[] => [
  [`${name}a`, 384, { kernel: [1, 3], padding: [0, 1] }],
  [`${name}b`, 384, { kernel: [3, 1], padding: [1, 0] }],
]

type Pooling = (x: Tensor) => Tensor
const halvingPool: Pooling = (x) => maxPool3(x, 2)
const samePool: Pooling = (x) => maxPool3(x, 1)

interface BlockPlan {
  inputs: number
  branches: readonly Branch[]
  pool: Pooling
  /** Outputs of the convolution behind the pooling; without one its channels are outputs. */
  pooled?: number
}

const blockA = (inputs: number, pooled: number): BlockPlan => ({
  inputs,
  branches: [
    [['branch1x1', 64]],
    [
      ['branch5x5_1', 48],
      ['branch5x5_2', 64, { kernel: 5, padding: 2 }],
    ],
    [
      ['branch3x3dbl_1', 64],
      ['branch3x3dbl_2', 96, three],
      ['branch3x3dbl_3', 96, three],
    ],
  ],
  pool: averagePool3,
  pooled,
})

const blockB: BlockPlan = {
  inputs: 288,
  branches: [
    [['branch3x3', 384, halving]],
    [
      ['branch3x3dbl_1', 64],
      ['branch3x3dbl_2', 96, three],
      ['branch3x3dbl_3', 96, halving],
    ],
  ],
  pool: halvingPool,
}

const blockC = (inner: number): BlockPlan => ({
  inputs: 768,
  branches: [
    [['branch1x1', 192]],
    [
      ['branch7x7_1', inner],
      ['branch7x7_2', inner, across],
      ['branch7x7_3', 192, down],
    ],
    [
      ['branch7x7dbl_1', inner],
      ['branch7x7dbl_2', inner, down],
      ['branch7x7dbl_3', inner, across],
      ['branch7x7dbl_4', inner, down],
      ['branch7x7dbl_5', 192, across],
    ],
  ],
  pool: averagePool3,
  pooled: 192,
})

const blockD: BlockPlan = {
  inputs: 768,
  branches: [
    [
      ['branch3x3_1', 192],
      ['branch3x3_2', 320, halving],
    ],
    [
      ['branch7x7x3_1', 192],
      ['branch7x7x3_2', 192, across],
      ['branch7x7x3_3', 192, down],
      ['branch7x7x3_4', 192, halving],
    ],
  ],
  pool: halvingPool,
}

const blockE = (inputs: number, pool: Pooling): BlockPlan => ({
  inputs,
  branches: [
    [['branch1x1', 320]],
    [['branch3x3_1', 384], bothWays('branch3x3_2')],
    [['branch3x3dbl_1', 448], ['branch3x3dbl_2', 384, three], bothWays('branch3x3dbl_3')],
  ],
  pool,
  pooled: 192,
})

const isStep = (item: Step | readonly Step[]): item is Step => typeof item[0] === 'string'

/** Branches side by side, their channels one after another, those of the pooling last. */
class Block extends Module {
  readonly #branches: Convolution[][][]
  readonly #pool: Pooling
  readonly #pooled: Convolution | null

  constructor({ inputs, branches, pool, pooled }: BlockPlan, device?: string) {
    super()
    this.#branches = branches.map((branch) => {
      let channels = inputs
      return branch.map((item) => {
        const steps = isStep(item) ? [item] : item
        const made = steps.map(([name, outputs, options = {}]) =>
          this.child(name, new Convolution(channels, outputs, options, device)),
        )
        channels = steps[0][1]
        return made
      })
    })
    this.#pool = pool
    this.#pooled = pooled === undefined ? null : this.child('branch_pool', new Convolution(inputs, pooled, {}, device))
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      const outputs = this.#branches.flatMap((branch) =>
        branch.reduce<Tensor[]>((given, layers) => layers.map((layer) => layer.forward(given[0])), [x]),
      )
      const pooled = this.#pool(x)
      return concat([...outputs, this.#pooled?.forward(pooled) ?? pooled], 3)
    })
  }
}

export class InceptionV3 extends Module {
  readonly #layers: ((x: Tensor) => Tensor)[] = []

  constructor({ device }: { device?: string } = {}) {
    super()
    const convolution = (name: string, inputs: number, outputs: number, options: ConvolutionOptions): void => {
      const layer = this.child(name, new Convolution(inputs, outputs, options, device))
      this.#layers.push((x) => layer.forward(x))
    }
    const block = (name: string, plan: BlockPlan): void => {
      const layer = this.child(name, new Block(plan, device))
      this.#layers.push((x) => layer.forward(x))
    }
    convolution('Conv2d_1a_3x3', 3, 32, halving)
    convolution('Conv2d_2a_3x3', 32, 32, { kernel: 3 })
    convolution('Conv2d_2b_3x3', 32, 64, three)
    this.#layers.push(halvingPool)
    convolution('Conv2d_3b_1x1', 64, 80, {})
    convolution('Conv2d_4a_3x3', 80, 192, { kernel: 3 })
    this.#layers.push(halvingPool)
    block('Mixed_5b', blockA(192, 32))
    block('Mixed_5c', blockA(256, 64))
    block('Mixed_5d', blockA(288, 64))
    block('Mixed_6a', blockB)
    block('Mixed_6b', blockC(128))
    block('Mixed_6c', blockC(160))
    block('Mixed_6d', blockC(160))
    block('Mixed_6e', blockC(192))
    block('Mixed_7a', blockD)
    block('Mixed_7b', blockE(1280, averagePool3))
    block('Mixed_7c', blockE(2048, samePool))
    this.setTrainable(false)
  }

  /**
   * The features that FID compares: the mean over places of the last block.
   * @param images (n, 299, 299, 3) in [−1, 1] @returns (n, 2048)
   */
  features(images: Tensor): Tensor {
    return noGrad(() =>
      scope(() => {
        let x = images
        for (const layer of this.#layers) {
          const before = x
          x = scope(() => layer(before))
          if (before !== images) before.dispose()
        }
        return reshape(areaPool(x, 1, 1), [images.dim(0), inceptionFeatures])
      }),
    )
  }
}

/** Weights by the names of `InceptionV3`, in the current scope, from the names of a published state dict. */
function foldInception(weights: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const folded = new Map<string, Tensor>()
  for (const [name, weight] of weights) {
    const layer = /^(.*)\.conv\.weight$/.exec(name)?.[1]
    if (layer === undefined) continue
    const of = (part: string): Tensor => {
      const tensor = weights.get(`${layer}.bn.${part}`)
      if (!tensor) throw new StarError('ERR_SHAPE', `it holds no ${layer}.bn.${part}`)
      return tensor
    }
    const norm = {
      weight: of('weight'),
      bias: of('bias'),
      running_mean: of('running_mean'),
      running_var: of('running_var'),
    }
    const both = noGrad(() => foldNormalisation(weight, norm, epsilon))
    folded.set(`${layer}.weight`, both.weight)
    folded.set(`${layer}.bias`, both.bias)
  }
  return folded
}

/**
 * The network from the state dict that pytorch-fid distributes, or from a safetensors file made from it.
 * @throws ERR_FILE when it is not there or damaged, ERR_SHAPE when it is another network's
 */
export function loadInception(file: string, { device }: { device?: string } = {}): InceptionV3 {
  using weights = openWeights(file)
  const published = 'expected the Inception state dict of pytorch-fid, pt_inception-2015-12-05-6726825d.pth'
  const classifier = Array.from(weights.entries).find(({ name }) => name === 'fc.weight')
  if (classifier && classifier.shape[0] !== publishedClasses)
    throw new StarError(
      'ERR_SHAPE',
      `${file} is an Inception v3 of ${classifier.shape[0]} classes, which is not the one that FID uses: ${published}`,
    )
  const model = new InceptionV3({ device })
  try {
    scope(() => model.load(foldInception(weights.tensors({ filter: (name) => !name.startsWith('fc.') }))))
  } catch (error) {
    model.dispose()
    if (!(error instanceof StarError) || error.code !== 'ERR_SHAPE') throw error
    throw new StarError('ERR_SHAPE', `${file}: ${error.message}; ${published}`, { cause: error })
  }
  return model
}
