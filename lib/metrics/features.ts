/** Features of pictures, whose distributions the Fréchet distance compares. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { type RgbImage, toTensor } from '../data/index.js'
import { type BackboneName, backboneNames, loadBackbone } from '../models/backbone/index.js'
import { inceptionFeatures, inceptionSide, loadInception } from '../models/metrics/index.js'
import { StarError } from '../native/index.js'
import type { Module } from '../nn/index.js'
import { noGrad, scope, Tensor } from '../tensor/index.js'
import { bilinear } from './resize.js'

export interface FeatureNetwork {
  /** As the user named it. */
  readonly name: string
  /** Whether published FIDs are distances of the same features. */
  readonly comparable: boolean
  /** Number of features. */
  readonly size: number
  /** A hash of its weights. */
  readonly fingerprint: string
  /** @param images of any sizes @returns rows of features, one after another */
  features(images: readonly RgbImage[]): Float32Array
  dispose(): void
}

function fingerprintOf(name: string, module: Module): string {
  const hash = createHash('sha256').update(name)
  for (const { name: tensor, tensor: values } of module.namedTensors())
    hash.update(`\0${tensor}\0`).update(new Uint8Array(values.handle.read()))
  return hash.digest('hex')
}

/** Runs pictures of one size after another; most sets have one. */
function bySize(images: readonly RgbImage[], work: (images: readonly RgbImage[]) => Float32Array): Float32Array {
  const parts: Float32Array[] = []
  for (let begin = 0; begin < images.length; ) {
    const { width, height } = images[begin]
    let end = begin + 1
    while (end < images.length && images[end].width === width && images[end].height === height) end++
    parts.push(work(images.slice(begin, end)))
    begin = end
  }
  const all = new Float32Array(parts.reduce((n, part) => n + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** The pooled features before the classifier, of pictures in the size they have. */
function backboneFeatures(name: BackboneName, device: string): FeatureNetwork {
  const network = loadBackbone(name, { device })
  const square = (images: readonly RgbImage[]): Float32Array =>
    noGrad(() =>
      scope(() => {
        const [{ width, height }] = images
        if (width !== height)
          throw new StarError('ERR_SHAPE', `features: a picture of ${width}×${height} was given, expected a square one`)
        const batch = toTensor(
          images.map(({ data }) => data),
          width,
          { device },
        )
        return network.pooled(network.features(batch).at(-1)!).floats()
      }),
    )
  return {
    name,
    comparable: false,
    size: network.head.outputs,
    fingerprint: fingerprintOf(name, network),
    features: (images) => bySize(images, square),
    dispose: () => network.dispose(),
  }
}

/** Pictures at 299×299 by bilinear interpolation, in [−1, 1]: the preprocessing of pytorch-fid. */
function inceptionNetwork(file: string, device: string): FeatureNetwork {
  const network = loadInception(file, { device })
  return {
    name: file,
    comparable: true,
    size: inceptionFeatures,
    fingerprint: fingerprintOf('inception', network),
    features: (images) =>
      scope(() => {
        const size = inceptionSide * inceptionSide * 3
        const batch = new Float32Array(images.length * size)
        images.forEach((image, i) => {
          batch.set(
            bilinear(image, inceptionSide, inceptionSide).map((value) => 2 * value - 1),
            i * size,
          )
        })
        const shape = [images.length, inceptionSide, inceptionSide, 3]
        return network.features(Tensor.from(batch, shape, { device })).floats()
      }),
    dispose: () => network.dispose(),
  }
}

const isBackbone = (name: string): name is BackboneName => (backboneNames as readonly string[]).includes(name)

/**
 * Features by the name of a backbone, or by the path of Inception's state dict.
 * @throws ERR_FILE when it is not there, ERR_SHAPE when the file holds another network
 */
export function loadFeatures(nameOrPath: string, device: string): FeatureNetwork {
  if (isBackbone(nameOrPath)) return backboneFeatures(nameOrPath, device)
  if (existsSync(nameOrPath)) return inceptionNetwork(nameOrPath, device)
  throw new StarError(
    'ERR_FILE',
    `there are no features "${nameOrPath}": expected ${backboneNames.join(', ')}, or the path of the Inception state dict that pytorch-fid distributes`,
  )
}
