/** Module: a layer that owns named parameters, buffers and child layers. Names are those of the released state dicts. */
import { StarError } from '../native/index.js'
import { keep, scaleName, type Tensor } from '../tensor/index.js'
import { copyWeight, type ScaledTensor, weightOfScale } from './int8.js'
import { describeDiff, type WeightDiff } from './weight-diff.js'

export interface NamedTensor {
  name: string
  tensor: Tensor
  /** Buffers are saved and loaded but not trained. */
  trainable: boolean
}

/** Element types that halve weights and activations. */
export type HalfType = 'f16' | 'bf16'

/** Element types of weights to compute with. */
export const weightTypes = ['f32', 'f16', 'bf16'] as const
/** An element type of weights. */
export type WeightType = (typeof weightTypes)[number]

let building: WeightType = 'f32'

/**
 * The modules that `build` makes, with tensors of this type (all but those whose ops want f32). Each is converted as it is
 * made, so that there are never f32 weights of a whole model.
 */
export function buildIn<T>(type: WeightType, build: () => T): T {
  const before = building
  building = type
  try {
    return build()
  } finally {
    building = before
  }
}

function asBuilt(tensor: Tensor): Tensor {
  if (building !== 'f32' && tensor.dtype === 'f32') tensor.convert(building).dispose()
  return tensor
}

interface OwnTensor extends NamedTensor {
  /** Its ops take it in f32 whatever the type of the others. */
  single: boolean
}

export abstract class Module {
  readonly #own: OwnTensor[] = []
  readonly #children: { name: string; module: Module }[] = []

  /** Registers a trainable tensor under `name` and takes it out of any scope. With `single` it is f32 in any precision. */
  protected param(name: string, tensor: Tensor, options: { single?: boolean } = {}): Tensor {
    tensor.requiresGrad = true
    const single = options.single ?? false
    this.#own.push({ name, tensor: keep(single ? tensor : asBuilt(tensor)), trainable: true, single })
    return tensor
  }

  /** Registers a tensor that is saved but not trained. With `single` it keeps its type in any precision. */
  protected buffer(name: string, tensor: Tensor, options: { single?: boolean } = {}): Tensor {
    const single = options.single ?? false
    this.#own.push({ name, tensor: keep(single ? tensor : asBuilt(tensor)), trainable: false, single })
    return tensor
  }

  /** Registers a child layer: its tensors are named `name.…`; an empty name adds none. */
  protected child<M extends Module>(name: string, module: M): M {
    this.#children.push({ name, module })
    return module
  }

  /** All tensors in order of registration, with full names. */
  *namedTensors(prefix = ''): Generator<NamedTensor> {
    for (const { name, tensor, trainable } of this.#own) yield { name: prefix + name, tensor, trainable }
    for (const { name, module } of this.#children) yield* module.namedTensors(name ? `${prefix}${name}.` : prefix)
  }

  /** This module and all below it, with full names; its own is the prefix. */
  *modules(prefix = ''): Generator<{ name: string; module: Module }> {
    yield { name: prefix, module: this }
    for (const { name, module } of this.#children)
      yield* module.modules([prefix, name].filter((part) => part !== '').join('.'))
  }

  /** Trainable tensors. */
  parameters(): Tensor[] {
    return [...this.namedTensors()].filter((t) => t.trainable).map((t) => t.tensor)
  }

  /**
   * Trainable tensors about in the order in which `forward` uses them: backward is through with them in about the reverse one.
   * Models whose released names come in another order say so here.
   */
  parametersByUse(): Tensor[] {
    return this.parameters()
  }

  /** Number of trainable elements. */
  parameterCount(): number {
    return this.parameters().reduce((n, t) => n + t.count, 0)
  }

  /** Turns gradients of all parameters on or off. */
  setTrainable(on: boolean): this {
    for (const { tensor, trainable } of this.namedTensors()) if (trainable) tensor.requiresGrad = on
    return this
  }

  /**
   * Turns tensors into 16-bit ones to compute with, all but those whose ops want f32.
   * @returns the f32 tensors they were made from by name, now the caller's: master weights for an optimizer, or to be disposed
   */
  toHalf(dtype: HalfType, prefix = ''): Map<string, Tensor> {
    const before = new Map<string, Tensor>()
    for (const { name, tensor, single } of this.#own)
      if (!single) before.set(prefix + name, keep(tensor.convert(dtype)))
    for (const { name, module } of this.#children)
      for (const entry of module.toHalf(dtype, name ? `${prefix}${name}.` : prefix)) before.set(...entry)
    return before
  }

  /** Drops all gradients. */
  zeroGrad(): void {
    for (const { tensor } of this.namedTensors()) {
      tensor.grad?.dispose()
      tensor.grad = null
    }
  }

  /**
   * Copies weights in by name. Every tensor of this module must be there with its own shape, and nothing may be left over,
   * unless `ignore` matches its name: what it matches is taken where it fits. Matrices in 8 bits become those of a float type where
   * the module has one, and the other way round.
   * @param options.onCopied is told of each tensor of `weights` that was copied, for its memory to be given back
   * @throws ERR_SHAPE with a readable list of what is missing, unexpected or misshapen
   */
  load(
    weights: ReadonlyMap<string, Tensor>,
    options: { ignore?: RegExp; onCopied?: (given: Tensor) => void } = {},
  ): void {
    const diff: WeightDiff = { missing: [], unexpected: [], misshapen: [] }
    const ignored = (name: string): boolean => options.ignore?.test(name) ?? false
    const seen = new Set<string>()
    const matched: { to: ScaledTensor; from: ScaledTensor }[] = []
    const own = new Map(Array.from(this.namedTensors(), ({ name, tensor }) => [name, tensor] as const))
    for (const [name, tensor] of own) {
      seen.add(name)
      const given = weights.get(name)
      const weight = weightOfScale(name, own)
      // Made of the weight, where that comes in a float type.
      if (weight !== null && !given && weights.get(weight)?.dtype !== 'i8') continue
      const givenScale = given?.dtype === 'i8' ? weights.get(scaleName(name)) : undefined
      if (givenScale) seen.add(scaleName(name))
      if (given?.dtype === 'i8' && givenScale?.shape.join() !== String(given.shape[0]))
        diff.missing.push(scaleName(name))
      else if (given?.shape.join() === tensor.shape.join())
        matched.push({
          to: { tensor, scale: tensor.dtype === 'i8' ? own.get(scaleName(name)) : undefined },
          from: { tensor: given, scale: givenScale },
        })
      else if (ignored(name)) continue
      else if (given) diff.misshapen.push({ name, given: given.shape, expected: tensor.shape })
      else diff.missing.push(name)
    }
    for (const name of weights.keys()) if (!seen.has(name) && !ignored(name)) diff.unexpected.push(name)
    const problems = describeDiff(diff)
    if (problems) throw new StarError('ERR_SHAPE', `the weights do not fit the model: ${problems}`)
    for (const { to, from } of matched) {
      copyWeight(to, from)
      options.onCopied?.(from.tensor)
    }
  }

  /** Frees all parameters and buffers. */
  dispose(): void {
    for (const { tensor } of this.namedTensors()) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
