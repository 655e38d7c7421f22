/**
 * Scales of a generation as recorded graphs. The first generation of a shape runs op by op and leaves its buffers behind; the
 * second records each scale on them; from then on a scale is one launch.
 */
import { type DecoderOptions, ScaleDecoder, type StarTransformer } from '../models/star/index.js'
import { canCapture, capture, type Graph, keep, Tensor } from '../tensor/index.js'
import {
  bufferedConditions,
  conditionsKey,
  copyConditions,
  disposeConditions,
  type ScaleConditions,
} from './conditions.js'
import type { NoiseSource } from './noise.js'
import { disposeStep, type ScaleRunner, type ScaleSources } from './runner.js'
import type { ScaleInput, ScaleStep } from './scale.js'
import type { SamplingSettings } from './settings.js'

/** Shapes whose buffers are kept; the one used longest ago goes first. */
const shapesKept = 4

/** What decides whether a recording can be used again: shapes and settings, not values. */
export interface Recordable {
  transformer: StarTransformer
  texts: DecoderOptions
  settings: SamplingSettings
  conditions?: readonly (ScaleConditions | null)[]
}

/** Recorded scales by shape and settings; for one pair of models. */
export class GraphPool {
  readonly #sessions = new Map<string, GraphSession>()

  /**
   * A runner for this shape and these settings, or null where the device records no graphs or the runner of that shape is at
   * work.
   */
  borrow({ transformer, texts, settings, conditions = [] }: Recordable): ScaleRunner | null {
    if (!canCapture(texts.text.pooled.device)) return null
    const { seed: _, ...kept } = settings
    const { states, mask } = texts.text
    const { rows, attending } = texts
    const given = conditions.map(conditionsKey)
    const key = JSON.stringify([rows?.length, attending, states.shape, mask !== null, kept, given])
    const known = this.#sessions.get(key)
    if (known?.busy) return null
    const session = known ?? new GraphSession(new ScaleDecoder(transformer, texts))
    if (known) known.begin(texts)
    // Last in the map is used last.
    this.#sessions.delete(key)
    this.#sessions.set(key, session)
    this.#prune()
    return session
  }

  #prune(): void {
    for (const [key, session] of this.#sessions) {
      if (this.#sessions.size <= shapesKept) return
      if (session.busy) continue
      session.dispose()
      this.#sessions.delete(key)
    }
  }

  dispose(): void {
    for (const session of this.#sessions.values()) session.dispose()
    this.#sessions.clear()
  }
}

/** One use of noise and the buffer that holds it. */
interface Draw {
  kind: keyof NoiseSource
  sizes: readonly number[]
  buffer: Tensor
}

interface Recording {
  draws: Draw[]
  /** The buffers that what is given is copied to. */
  given: ScaleConditions | null
  /** Where the scale's results lie. */
  out: ScaleStep
  graph: Graph | null
}

class GraphSession implements ScaleRunner {
  readonly #decoder: ScaleDecoder
  readonly #scales: Recording[] = []
  #last: Tensor | null = null
  busy = true

  constructor(decoder: ScaleDecoder) {
    this.#decoder = decoder
  }

  /** Takes other prompts of the same shape. */
  begin(texts: DecoderOptions): void {
    this.#decoder.rewind(texts)
    this.busy = true
  }

  run(k: number, sources: ScaleSources, sample: (input: ScaleInput) => ScaleStep): ScaleStep {
    const before = k > 0 ? this.#scales[k - 1].out : null
    const input = { k, decoder: this.#decoder, fHat: before?.fHat ?? null, input: before?.next ?? null }
    // Launches of earlier scales filled the caches without a step of the decoder.
    this.#decoder.seek(k)
    const known = this.#scales[k]
    if (known)
      this.#replay(known, sources, () => sample({ ...input, noise: playback(known.draws), given: known.given }))
    else {
      const draws: Draw[] = []
      const given = sources.given && bufferedConditions(sources.given)
      const { fHat, next, tokens } = sample({ ...input, noise: remembering(sources.noise, draws), given })
      const out = { fHat: keep(fHat), next: next && keep(next), tokens: tokens && keep(tokens) }
      this.#scales.push({ draws, given, out, graph: null })
    }
    const { out } = this.#scales[k]
    this.#last = out.fHat
    return out
  }

  #replay(recording: Recording, sources: ScaleSources, sample: () => ScaleStep): void {
    const { draws, given, out } = recording
    for (const { kind, sizes, buffer } of draws) {
      using fresh = make(sources.noise, kind, sizes)
      buffer.copyFrom(fresh)
    }
    if (given && sources.given) copyConditions(given, sources.given)
    recording.graph ??= capture(out.fHat.device, () => {
      const step = sample()
      out.fHat.copyFrom(step.fHat)
      if (step.next) out.next!.copyFrom(step.next)
      if (step.tokens) out.tokens!.copyFrom(step.tokens)
    })
    recording.graph.launch()
  }

  result(): Tensor {
    const copy = Tensor.empty(this.#last!.shape, { device: this.#last!.device })
    copy.copyFrom(this.#last!)
    return copy
  }

  release(): void {
    this.busy = false
  }

  dispose(): void {
    this.#decoder.dispose()
    for (const { draws, given, out, graph } of this.#scales) {
      graph?.dispose()
      disposeStep(out)
      if (given) disposeConditions(given)
      for (const { buffer } of draws) buffer.dispose()
    }
  }
}

function make(noise: NoiseSource, kind: keyof NoiseSource, sizes: readonly number[]): Tensor {
  return kind === 'draw' ? noise.draw(sizes[0]) : noise[kind](sizes[0], sizes[1])
}

/** Noise as it comes, with every use noted and its tensor kept. */
function remembering(noise: NoiseSource, draws: Draw[]): NoiseSource {
  const note =
    (kind: keyof NoiseSource) =>
    (...sizes: number[]): Tensor => {
      const buffer = keep(make(noise, kind, sizes))
      draws.push({ kind, sizes, buffer })
      return buffer
    }
  return { draw: note('draw'), order: note('order'), gumbel: note('gumbel') }
}

/** The kept tensors in their order. */
function playback(draws: readonly Draw[]): NoiseSource {
  let at = 0
  const next = (): Tensor => draws[at++].buffer
  return { draw: next, order: next, gumbel: next }
}
