/** From one's own pictures to two configurations that train a model of them on this machine. */
import { basename, resolve } from 'node:path'
import { StarError } from '../../native/index.js'
import { type FileFacts, tokenizerText, transformerText } from './files.js'
import { type Estimates, type MeasureOptions, measure } from './measure.js'
import { candidates, type Filtering, filteringOf, possibleSides, type Sizes } from './sizes.js'
import type { Survey } from './survey.js'

export { amount, duration } from './files.js'
export { type Survey, surveyData } from './survey.js'

/** Fraction that "star pack" is told to hold out. */
export const heldOutShare = 0.05
/** Sizes are chosen so that both trainings together stay below. */
const longest = 12 * 3600

export interface StarterOptions extends Omit<MeasureOptions, 'longest'> {
  /** Folder of the trainings, as it is to be written into the files. */
  folder: string
  /** Where the packs are, or will be. */
  packs: string
  /** Side of the pictures; chosen by default. */
  size?: number
  /** What the estimates hold for, in words. */
  machine: string
  signal?: AbortSignal
}

export interface Starter {
  sizes: Sizes
  /** Pictures to train on. */
  count: number
  filtering: Filtering
  estimates: Estimates
  /** Prompts that are shown while training. */
  prompts: string[]
  files: { name: string; text: string }[]
}

/** Pictures of the survey that are trained on, estimated where only some were looked at. */
function trainingCount(
  { total, pictures, withoutCaption, unreadable, heldOut, packed }: Survey,
  filtering: Filtering,
): number {
  const looked = pictures.length + withoutCaption + unreadable
  const leftOut = Object.values(filtering.leftOut).reduce((sum, count) => sum + count, 0)
  const kept = (total * (pictures.length - leftOut)) / looked
  return Math.round(packed ? kept * (1 - heldOut / total) : kept * (1 - heldOutShare))
}

function promptsOf({ pictures }: Survey): string[] {
  const captions = [...new Set(pictures.map(({ captions }) => captions[0]))]
  return Array.from({ length: Math.min(4, captions.length) }, (_, i) => captions[Math.floor((i * captions.length) / 4)])
}

/**
 * Chooses sizes, measures what they take of the machine, and writes the texts of both configurations. Where nobody asked for a
 * side, the largest that the pictures have and the machine trains within twelve hours is taken.
 * @throws ERR_ARGUMENT for a side that there is none of, ERR_CONFIG where filters leave no picture
 */
export async function makeStarter(survey: Survey, options: StarterOptions): Promise<Starter> {
  const { folder, packs, machine, size, signal } = options
  const possible = possibleSides(survey, size)
  const countAt = (side: number): number => trainingCount(survey, filteringOf(survey, side))
  if (countAt(possible[0]) < 1)
    throw new StarError(
      'ERR_CONFIG',
      `filters would leave out every picture (${JSON.stringify(filteringOf(survey, possible[0]).leftOut)}): "docs/data.md" says what they ask for`,
    )
  let found: { sizes: Sizes; estimates: Estimates } | null = null
  for (const sizes of candidates(countAt(possible[0]), possible)) {
    if (signal?.aborted) throw new StarError('ERR_ABORTED', 'measuring was stopped', { cause: signal.reason })
    found = { sizes, estimates: await measure(sizes, countAt(sizes.side), { ...options, longest }) }
    if (found.estimates.tokenizer.seconds + found.estimates.transformer.seconds <= longest) break
  }
  const { sizes, estimates } = found!
  const filtering = filteringOf(survey, sizes.side)
  const [count, prompts] = [countAt(sizes.side), promptsOf(survey)]
  const facts: FileFacts = {
    ...{ folder, packs, machine, count, prompts, sizes, filtering, estimates },
    name: basename(resolve(folder)),
  }
  return {
    ...{ sizes, count, filtering, estimates, prompts },
    files: [
      { name: 'tokenizer.json', text: tokenizerText(facts) },
      { name: 'transformer.json', text: transformerText(facts) },
    ],
  }
}
