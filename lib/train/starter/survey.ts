/** What a folder of pictures, a list, tars or packs hold: sizes, captions, and what training would leave out of them. */
import { existsSync, readdirSync, statSync } from 'node:fs'
import sharp from 'sharp'
import { captionsOf, findPacks, openPack } from '../../data/index.js'
import { findInputs, InputError, type PackInput } from '../../data/pack-inputs.js'
import { StarError } from '../../native/index.js'

export interface Survey {
  /** Packs can be trained on as they are; anything else is packed first. */
  packed: boolean
  /** Pictures there are. */
  total: number
  /** Of those that were looked at: the ones with a readable picture and a caption. */
  pictures: SurveyedPicture[]
  /** Looked at, and without a caption or a readable picture. */
  withoutCaption: number
  unreadable: number
  /** Of packs, images kept for validation. */
  heldOut: number
}

export interface SurveyedPicture {
  width: number
  height: number
  captions: string[]
}

export interface SurveyOptions {
  signal?: AbortSignal
  onProgress?: (done: number, total: number | null) => void
}

/** Of longer listed inputs, so many are looked at, evenly spread. */
const mostLookedAt = 5000

const stop = (signal: AbortSignal | undefined): void => {
  if (signal?.aborted)
    throw new StarError('ERR_ABORTED', 'looking at the pictures was stopped', { cause: signal.reason })
}

/**
 * Looks at what "star pack" would pack, or at packs.
 * @throws ERR_FILE when there is nothing to train on, ERR_ABORTED
 */
export async function surveyData(path: string, options: SurveyOptions = {}): Promise<Survey> {
  const packs = packsIn(path)
  const survey = packs ? await surveyPacks(packs, options) : await surveyInputs(path, options)
  if (survey.pictures.length > 0) return survey
  throw new StarError(
    'ERR_FILE',
    `${path} holds no picture to train on (${survey.withoutCaption} without a caption, ${survey.unreadable} unreadable): put a NAME.txt with a caption beside each NAME.png`,
  )
}

/** The packs that a path names; null where it names something else. */
function packsIn(path: string): string[] | null {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (!stat) return null
  if (!stat.isDirectory()) return existsSync(`${path}-info.json`) ? [path] : null
  const names = new Set(readdirSync(path))
  return [...names].some((name) => names.has(`${name}-info.json`)) ? findPacks([path]) : null
}

async function surveyPacks(packs: readonly string[], { signal, onProgress }: SurveyOptions): Promise<Survey> {
  const survey: Survey = { packed: true, total: 0, pictures: [], withoutCaption: 0, unreadable: 0, heldOut: 0 }
  for (const [i, path] of packs.entries()) {
    stop(signal)
    using pack = openPack(path)
    for (const key of pack.keys) {
      if (!pack.knows(key)) continue
      const info = pack.info(key)
      survey.total++
      if (info.split === 'held-out') survey.heldOut++
      const captions = captionsOf(info)
      if (captions.length === 0) survey.withoutCaption++
      else survey.pictures.push({ width: info.width, height: info.height, captions })
    }
    onProgress?.(i + 1, packs.length)
    await new Promise(setImmediate)
  }
  return survey
}

async function surveyInputs(path: string, { signal, onProgress }: SurveyOptions): Promise<Survey> {
  const inputs = findInputs([path])
  const survey: Survey = { packed: false, total: 0, pictures: [], withoutCaption: 0, unreadable: 0, heldOut: 0 }
  const every = Math.max(1, (inputs.count ?? 0) / mostLookedAt)
  let [place, next] = [0, 0]
  for await (const input of inputs.from(undefined)) {
    if (place++ < next) continue
    next += every
    stop(signal)
    await look(input, survey)
    onProgress?.(place, inputs.count)
  }
  return { ...survey, total: place }
}

async function look(input: PackInput, survey: Survey): Promise<void> {
  try {
    const captions = captionsOf(await input.info())
    if (captions.length === 0) survey.withoutCaption++
    else survey.pictures.push({ ...(await sizeOf(await input.image())), captions })
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    survey.unreadable++
  }
}

/** The size of an upright picture. */
async function sizeOf(image: Buffer): Promise<{ width: number; height: number }> {
  try {
    return (await sharp(image).metadata()).autoOrient
  } catch (error) {
    throw new InputError('badImage', (error as Error).message)
  }
}
