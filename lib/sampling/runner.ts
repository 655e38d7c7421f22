/** Running the scales of one generation in order. */
import type { ScaleDecoder } from '../models/star/index.js'
import { keep, type Tensor } from '../tensor/index.js'
import type { ScaleConditions } from './conditions.js'
import type { Mix } from './guidance.js'
import type { NoiseSource } from './noise.js'
import type { ScaleInput, ScaleStep } from './scale.js'

/** What a scale takes from outside of the models: fresh values each time it runs, recorded or not. */
export interface ScaleSources {
  noise: NoiseSource
  given: ScaleConditions | null
  mix: Mix | null
}

export interface ScaleRunner {
  /** Runs scale k through `sample`. The result is valid until the next scale. */
  run(k: number, sources: ScaleSources, sample: (input: ScaleInput) => ScaleStep): Pick<ScaleStep, 'fHat' | 'tokens'>
  /** The last scale's f̂, owned by the caller. */
  result(): Tensor
  /** Ends the generation, whole or not. */
  release(): void
}

/** Runs every op when it is called. */
export class EagerRunner implements ScaleRunner {
  #step: ScaleStep | null = null

  constructor(private readonly decoder: ScaleDecoder) {}

  run(k: number, sources: ScaleSources, sample: (input: ScaleInput) => ScaleStep): ScaleStep {
    const before = this.#step
    const [fHat, input] = [before?.fHat ?? null, before?.next ?? null]
    const step = sample({ k, decoder: this.decoder, ...sources, fHat, input })
    this.#step = { fHat: keep(step.fHat), next: step.next && keep(step.next), tokens: step.tokens && keep(step.tokens) }
    disposeStep(before)
    return this.#step
  }

  result(): Tensor {
    return this.#step!.fHat.detach()
  }

  release(): void {
    this.decoder.dispose()
    disposeStep(this.#step)
    this.#step = null
  }
}

export function disposeStep(step: ScaleStep | null): void {
  for (const tensor of [step?.fHat, step?.next, step?.tokens]) tensor?.dispose()
}
