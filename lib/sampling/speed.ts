/**
 * Drawing faster without training: guidance that ends before the last scales (Voronov et al. 2024, "Switti", arXiv 2412.01819) and
 * tokens that are left out there (Guo et al. 2025, "FastVAR", arXiv 2503.23367).
 */
import { z } from 'zod'
import { StarError } from '../native/index.js'

/** Names of the presets. */
export const speedNames = ['full', 'fast', 'turbo'] as const
/** `full` leaves out nothing; `fast` guidance in the last scales; `turbo` tokens of them too. */
export type SpeedName = (typeof speedNames)[number]

export const speedSchema = z.strictObject({
  unguidedFrom: z
    .int()
    .min(1)
    .optional()
    .describe(
      'scale index from which on guidance is off: only the prompt’s half is computed, and nothing is mixed softly',
    ),
  temperature: z
    .number()
    .positive()
    .max(100)
    .default(1)
    .describe('divides the logits of the last scale where guidance is off there; below 1 they are sharper'),
  prune: z
    .strictObject({
      from: z.int().min(0).describe('scale index whose outputs stand in, resized, for tokens that are not computed'),
      keep: z
        .array(z.number().positive().max(1))
        .min(1)
        .max(100)
        .describe('share of the tokens that each block computes at the scales after it, in order'),
      blocks: z
        .tuple([z.int().min(0), z.int().min(0)])
        .optional()
        .describe('first and last block that leave tokens out; default: all'),
    })
    .optional()
    .describe('tokens that are left out'),
})

/** What is left out of a generation, complete. */
export type SpeedSettings = z.output<typeof speedSchema>
/** What is left out of a generation. */
export type SpeedOptions = z.input<typeof speedSchema>

/** What the presets leave out; those of a model stand in its model.json (`speeds`). */
export const speedsSchema = z.strictObject({
  fast: speedSchema.optional(),
  turbo: speedSchema.optional(),
})

/** A preset's settings for each of their names; null leaves out nothing. */
export type Speeds = Readonly<Record<SpeedName, SpeedSettings | null>>

/**
 * The presets of a model with so many scales. As in the papers for 1024², of 14 scales, guidance is off in the last fifth, the last
 * logits are divided by 0.1, and the last two scales compute a half and a quarter of their tokens.
 * @param own those that the model itself names
 */
export function speedsOf(scales: number, own: z.output<typeof speedsSchema> = {}): Speeds {
  const late = scales - Math.max(1, Math.round(scales / 5))
  const fast = own.fast ?? { unguidedFrom: Math.max(1, late), temperature: 0.1 }
  const shares = [0.5, 0.25].slice(-Math.max(1, Math.min(2, scales - 1)))
  const turbo = own.turbo ?? { ...fast, prune: { from: Math.max(0, scales - 1 - shares.length), keep: shares } }
  return { full: null, fast, turbo: scales > 1 || own.turbo ? turbo : fast }
}

/**
 * The settings that a name stands for, checked against the model's scales; null where nothing is left out.
 * @param speeds the model's presets; default: those of the rule
 * @throws ERR_CONFIG for a scale that the model has not
 */
export function speedOf(
  speed: SpeedName | SpeedSettings | undefined,
  scales: number,
  speeds: Speeds = speedsOf(scales),
): SpeedSettings | null {
  const settings = typeof speed === 'object' ? speed : speeds[speed ?? 'full']
  if (settings?.unguidedFrom !== undefined && settings.unguidedFrom >= scales && scales > 1)
    throw new StarError(
      'ERR_CONFIG',
      `speed.unguidedFrom is ${settings.unguidedFrom}, expected the index of a scale from 1 to ${scales - 1}`,
    )
  return settings
}

/** Settings in which a preset's name has become what a model leaves out at that speed. @throws ERR_CONFIG as `speedOf` */
export function withSpeed<T extends { speed?: SpeedName | SpeedSettings }>(
  settings: T,
  { speeds, scales }: { speeds: Speeds; scales: readonly number[] },
): T {
  if (settings.speed === undefined) return settings
  return { ...settings, speed: speedOf(settings.speed, scales.length, speeds) ?? undefined }
}
