/**
 * Scales of a generation as recorded graphs. The first generation of a shape runs op by op and leaves its buffers behind; the
 * second records each scale on them; from then on a scale is one launch. What a device does not record it does op by op.
 */
import { type DecoderOptions, KeysValuesArena, ScaleDecoder, type StarTransformer } from '../models/star/index.js'
import { native, StarError } from '../native/index.js'
import { updateStrengths } from '../nn/index.js'
import { canCapture, capture, concat, full, type Graph, keep, noGrad, scope, Tensor, zeros } from '../tensor/index.js'
import {
  bufferedConditions,
  conditionsKey,
  copyConditions,
  disposeConditions,
  type ScaleConditions,
} from './conditions.js'
import type { Mix } from './guidance.js'
import type { NoiseSource } from './noise.js'
import { disposeStep, type ScaleRunner, type ScaleSources } from './runner.js'
import type { ScaleInput, ScaleStep } from './scale.js'
import type { SamplingSettings } from './settings.js'

/**
 * Shapes, settings and strengths whose buffers are kept at most, and bytes that these may take beside the keys and values; the one
 * used longest ago goes first.
 */
const shapesKept = 8
const defaultBudget = 4e9

/** What decides whether a recording can be used again: shapes, settings and strengths of LoRAs, not values. */
export interface Recordable {
  transformer: StarTransformer
  texts: DecoderOptions
  settings: SamplingSettings
  /** Scales from `settings.stableFrom` on are fixed in steps. */
  stable?: boolean
  conditions?: readonly (ScaleConditions | null)[]
  /** Number of texts of each image. */
  parts?: number
}

/**
 * Recorded scales by shape and settings; for one pair of models. All of them use the keys and values of one arena, so one
 * generation at a time runs from recordings.
 */
export class GraphPool {
  readonly #sessions = new Map<string, GraphSession>()
  readonly #budget: number
  #arena: KeysValuesArena | null = null

  constructor({ budget = defaultBudget }: { budget?: number } = {}) {
    this.#budget = budget
  }

  /** A runner for this shape and these settings, or null where the device records no graphs or a runner is at work. */
  borrow(what: Recordable): ScaleRunner | null {
    const { device } = what.texts.text.pooled
    if (!canCapture(device) || [...this.#sessions.values()].some(({ busy }) => busy)) return null
    return noGrad(() =>
      scope(() => {
        const texts = padded(what.texts)
        const key = keyOf({ ...what, texts })
        const known = this.#sessions.get(key)
        if (known) known.begin(texts)
        const session = known ?? withMemory(this, device, () => this.#open(what.transformer, texts))
        // Last in the map is used last.
        this.#sessions.delete(key)
        this.#sessions.set(key, session)
        this.#prune()
        return session
      }),
    )
  }

  #open(transformer: StarTransformer, texts: DecoderOptions): GraphSession {
    const samples = texts.rows?.length ?? texts.text.pooled.dim(0)
    const length = Math.max(transformer.length, transformer.levelsOf(texts.grid).at(-1)!.end)
    const { samples: widest = 0, length: longest = 0 } = this.#arena ?? {}
    if (widest < samples || longest < length) {
      // Recordings know the addresses of the smaller one.
      this.dispose()
      this.#arena = new KeysValuesArena(transformer, Math.max(widest, samples), Math.max(longest, length))
    }
    return new GraphSession(this, new ScaleDecoder(transformer, texts, this.#arena!.first(samples)))
  }

  #prune(): void {
    let bytes = [...this.#sessions.values()].reduce((sum, session) => sum + session.bytes, 0)
    for (const [key, session] of this.#sessions) {
      if (this.#sessions.size <= shapesKept && bytes <= this.#budget) return
      if (session.busy) continue
      bytes -= session.bytes
      session.dispose()
      this.#sessions.delete(key)
    }
  }

  /** Gives back what idle recordings hold, the arena too where none is at work; false when that is nothing. */
  forgetIdle(): boolean {
    const idle = [...this.#sessions].filter(([, session]) => !session.busy)
    for (const [key, session] of idle) {
      session.dispose()
      this.#sessions.delete(key)
    }
    const arena = this.#sessions.size === 0 ? this.#arena : null
    if (arena) {
      arena.dispose()
      this.#arena = null
    }
    return idle.length > 0 || arena !== null
  }

  dispose(): void {
    for (const session of this.#sessions.values()) session.dispose()
    this.#sessions.clear()
    this.#arena?.dispose()
    this.#arena = null
  }
}

/** Does `work` once more where there was no memory for it and recordings held some. */
export function withMemory<T>(graphs: GraphPool | undefined, device: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof StarError) || error.code !== 'ERR_MEMORY' || !graphs?.forgetIdle()) throw error
    native.trimMemory(device)
    return work()
  }
}

/** Lengths that texts are padded to, so that prompts of about one length share a recording; those that encoders give are among them. */
const textLengths = [16, 32, 48, 64, 77, 96, 120, 160, 240, 320, 512]

/** Texts with states and mask of the next of these lengths. What is added is masked, and changes no result. */
function padded(texts: DecoderOptions): DecoderOptions {
  const { states, mask, pooled } = texts.text
  const [count, length, width] = states.shape
  const room = (textLengths.find((n) => n >= length) ?? length) - length
  if (room === 0) return texts
  const { device } = states
  const known = mask ?? full([count, length], 1, { dtype: 'u8', device })
  return {
    ...texts,
    text: {
      pooled,
      states: concat([states, zeros([count, room, width], { dtype: states.dtype, device })], 1),
      mask: concat([known, zeros([count, room], { dtype: 'u8', device })], 1),
    },
  }
}

/** What a recording depends on. Settings that have no say in the scales' work are left out. */
function keyOf({ transformer, texts, settings, stable = false, conditions = [], parts = 1 }: Recordable): string {
  const { seed: _, topK, topP, stableFrom, version, ...kept } = settings
  // All scales are soft mixes, of all tokens.
  const soft = settings.moreSmooth && !stable && (settings.speed ?? 'full') === 'full'
  const drawn = soft ? [] : version === 'old' ? ['old', topK] : [topK, topP]
  const { rows, attending, text, grid } = texts
  return JSON.stringify([
    rows?.length,
    attending,
    grid ?? null,
    text.states.shape,
    text.mask !== null,
    kept,
    drawn,
    stable ? [version, stableFrom] : null,
    conditions.map(conditionsKey),
    parts,
    updateStrengths(transformer),
  ])
}

let told = false
/** Says once why generations are not recorded: they are right without, and slower. */
function tellRefused({ message }: StarError): void {
  if (!told) console.error(`generations run op by op, because the device did not record one: ${message}`)
  told = true
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
  readonly #scales: Recording[] = []
  #last: Tensor | null = null
  /** The shares of several texts, copied anew for each scale. */
  #mix: Mix | null = null
  /** The device refused to record this work: it is done op by op on the same buffers. */
  #refused = false
  busy = true

  readonly #decoder: ScaleDecoder

  constructor(
    private readonly pool: GraphPool,
    decoder: ScaleDecoder,
  ) {
    this.#decoder = decoder
  }

  /** What it holds beside the keys and values. */
  get bytes(): number {
    const ofScale = ({ draws, out }: Recording): number =>
      [...draws.map(({ buffer }) => buffer), out.fHat, out.next, out.tokens].reduce((n, t) => n + (t?.bytes ?? 0), 0)
    return this.#scales.reduce((n, scale) => n + ofScale(scale), 0)
  }

  /** Takes other prompts of the same shape. */
  begin(texts: DecoderOptions): void {
    this.#decoder.rewind(texts)
    this.busy = true
  }

  run(k: number, sources: ScaleSources, sample: (input: ScaleInput) => ScaleStep): ScaleStep {
    const before = k > 0 ? this.#scales[k - 1].out : null
    const mix = this.#mixed(sources.mix)
    const input = { k, decoder: this.#decoder, mix, fHat: before?.fHat ?? null, input: before?.next ?? null }
    // Launches of earlier scales filled the caches without a step of the decoder.
    this.#decoder.seek(k)
    const known = this.#scales[k]
    if (known)
      this.#replay(k, known, sources, () => sample({ ...input, noise: playback(known.draws), given: known.given }))
    else {
      const draws: Draw[] = []
      const given = sources.given && bufferedConditions(sources.given)
      const { fHat, next, tokens } = withMemory(this.pool, this.#decoder.pooled.device, () => {
        this.#decoder.seek(k)
        return sample({ ...input, noise: remembering(sources.noise, draws), given })
      })
      const out = { fHat: keep(fHat), next: next && keep(next), tokens: tokens && keep(tokens) }
      this.#scales.push({ draws, given, out, graph: null })
    }
    const { out } = this.#scales[k]
    this.#last = out.fHat
    return out
  }

  /** The same shares in the buffer that recordings read. */
  #mixed(mix: Mix | null): Mix | null {
    if (!mix) return null
    const { shape, device } = mix.weights
    this.#mix ??= { parts: mix.parts, weights: keep(Tensor.empty(shape, { device })) }
    this.#mix.weights.copyFrom(mix.weights)
    return this.#mix
  }

  #replay(k: number, recording: Recording, sources: ScaleSources, sample: () => ScaleStep): void {
    const { draws, given, out } = recording
    for (const { kind, sizes, buffer } of draws) {
      using fresh = make(sources.noise, kind, sizes)
      buffer.copyFrom(fresh)
    }
    if (given && sources.given) copyConditions(given, sources.given)
    const work = (): void => {
      const step = sample()
      out.fHat.copyFrom(step.fHat)
      if (step.next) out.next!.copyFrom(step.next)
      if (step.tokens) out.tokens!.copyFrom(step.tokens)
    }
    const { device } = out.fHat
    if (!this.#refused) {
      try {
        withMemory(this.pool, device, () => {
          this.#decoder.seek(k)
          recording.graph ??= capture(device, work)
          recording.graph.launch()
        })
        return
      } catch (error) {
        if (!(error instanceof StarError) || (error.code !== 'ERR_DEVICE' && error.code !== 'ERR_MEMORY')) throw error
        tellRefused(error)
        this.#refused = true
      }
    }
    this.#decoder.seek(k)
    scope(work)
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
    this.#mix?.weights.dispose()
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

/** Noise as it comes, with every use noted and its tensor kept; what was noted in an attempt before comes first. */
function remembering(noise: NoiseSource, draws: Draw[]): NoiseSource {
  let at = 0
  const note =
    (kind: keyof NoiseSource) =>
    (...sizes: number[]): Tensor => {
      const known = draws.at(at++)
      if (known) return known.buffer
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
