/** The icon data set: pictograms of several free sets with captions that name thing and style, as packs. */
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { writeFileAtomic } from '../../native/files.js'
import { StarError } from '../../native/index.js'
import { type MainColour, mainColour } from '../colour.js'
import { isInShare } from '../names.js'
import { type PackEntry, writePacks } from '../pack.js'
import { attributionOf } from './attribution.js'
import { iconCaptions, Vocabulary } from './captions.js'
import { Concepts, type LeftOutReason } from './concepts.js'
import { protectedLabels } from './everyday/index.js'
import { openClipart, openClipartPictures } from './openclipart.js'
import { type IconPicture, type LeftOut, picturesOf } from './pictures.js'
import { type RenderedIcon, renderIcon, signatureDistance } from './render.js'
import { iconSets } from './sets.js'
import { drawContactSheet } from './sheet.js'

export interface IconOptions {
  /** Side of the packed images. Default 256. */
  size?: number
  /** Ids of the sets to draw from, see `iconSets`; all by default. */
  sets?: readonly string[]
  /** Folder of Debian's openclipart-svg, whose drawings are packed too; none by default. */
  openclipart?: string
  onProgress?: (done: number, total: number) => void
  signal?: AbortSignal
}

export interface IconReport {
  paths: string[]
  count: number
  /** Pictures by style. */
  styles: Record<string, number>
  /** Held-out pictures: of concepts that training never sees, and of pairs of concept and style. */
  heldOut: { concept: number; pair: number }
  /** Pictures left out, by set and reason. */
  leftOut: Record<string, Partial<Record<LeftOutReason, number>>>
  /** Names of the pictures that do not render, with the reason. */
  notRendered: string[]
}

/** Parts of the names that are not protected which give 5 % of all pictures each. */
const heldOutConcepts = 0.082
const heldOutPairs = 0.105
/** Mean difference of two pictures of a thing, at 32×32, below which they count as one. */
const nearlyEqual = 5

interface Kept {
  picture: IconPicture
  image: Buffer
  colour: MainColour | null
}

/** Runs `work` on several items at once and hands on the results in the order of the items. */
async function* inOrder<T, R>(items: readonly T[], work: (item: T) => Promise<R>): AsyncGenerator<[T, R]> {
  const ahead = Math.max(2, availableParallelism())
  const queue: Promise<R>[] = []
  try {
    for (let i = 0, started = 0; i < items.length; i++) {
      for (; started < items.length && queue.length < ahead; started++) queue.push(work(items[started]))
      yield [items[i], await queue.shift()!]
    }
  } finally {
    await Promise.allSettled(queue)
  }
}

/** Which pictures training does not see, fixed by names: whole concepts, and pairs whose concept it sees in another style. */
export function holdOut(pictures: readonly IconPicture[]): ('concept' | 'pair' | null)[] {
  const seen = new Map<string, Set<string>>()
  const kinds = pictures.map(({ subject: { concept }, set }): 'concept' | 'pair' | null => {
    if (protectedLabels.has(concept.label)) return null
    if (isInShare(`concept ${concept.label}`, heldOutConcepts)) return 'concept'
    return isInShare(`pair ${concept.label}, ${set.style}`, heldOutPairs) ? 'pair' : null
  })
  pictures.forEach(({ subject: { concept }, set }, i) => {
    if (kinds[i] === null) seen.set(concept.id, (seen.get(concept.id) ?? new Set()).add(set.style))
  })
  return kinds.map((kind, i) => (kind === 'pair' && !seen.has(pictures[i].subject.concept.id) ? null : kind))
}

/**
 * Builds the packs `icons-000000` … in a folder, with ATTRIBUTION.md, contact-sheet.png and icons-report.json beside them.
 * @throws ERR_FILE when a package is missing or the folder cannot be written; ERR_ABORTED through `signal`, leaving no pack
 */
export async function buildIconPack(folder: string, options: IconOptions = {}): Promise<IconReport> {
  const { size = 256, onProgress, signal } = options
  if (!Number.isInteger(size) || size < 32 || size > 1024)
    throw new StarError('ERR_ARGUMENT', `buildIconPack: size is ${size}, expected a whole number from 32 to 1024`)
  const unknown = options.sets?.find((id) => !iconSets.some((set) => set.id === id))
  if (unknown !== undefined)
    throw new StarError(
      'ERR_ARGUMENT',
      `buildIconPack: there is no set ${JSON.stringify(unknown)}: give some of ${iconSets.map(({ id }) => id).join(', ')}`,
    )
  const drawings = options.openclipart === undefined ? [] : [openClipart]
  const sets = [...iconSets.filter(({ id }) => options.sets?.includes(id) ?? true), ...drawings]
  const concepts = new Concepts()
  const vocabulary = new Vocabulary(concepts.all)
  const leftOut: IconReport['leftOut'] = {}
  const count = (set: string, reason: LeftOutReason) => {
    leftOut[set] ??= {}
    leftOut[set][reason] = (leftOut[set][reason] ?? 0) + 1
  }
  const notRendered: string[] = []
  const leave: LeftOut = ({ id }, reason) => count(id, reason)
  const pictures = sets.flatMap((set) =>
    set === openClipart ? openClipartPictures(options.openclipart!, concepts, leave) : picturesOf(set, concepts, leave),
  )

  // All pictures are drawn before the first is packed: which pairs can be held out depends on what is left of each concept.
  const kept: Kept[] = []
  const signatures = new Map<string, Uint8Array[]>()
  const render = async (picture: IconPicture): Promise<RenderedIcon | StarError> => {
    try {
      return await renderIcon(picture.read(), `${picture.set.id}/${picture.name}`, size)
    } catch (error) {
      if (error instanceof StarError && error.code === 'ERR_FILE') return error
      throw error
    }
  }
  let done = 0
  for await (const [picture, rendered] of inOrder(pictures, render)) {
    if (signal?.aborted)
      throw new StarError('ERR_ABORTED', 'buildIconPack: stopped before the pack was complete; nothing was written', {
        cause: signal.reason,
      })
    onProgress?.(++done, pictures.length)
    if (rendered instanceof StarError) {
      count(picture.set.id, 'notRendered')
      notRendered.push(rendered.message)
      continue
    }
    const { image, signature, monochrome } = rendered
    const { tone, hexcode, concept } = picture.subject
    const thing = tone ? hexcode : concept.id
    const others = signatures.get(thing) ?? []
    if (monochrome) count(picture.set.id, 'monochrome')
    else if (others.some((other) => signatureDistance(other, signature) < nearlyEqual))
      count(picture.set.id, 'duplicate')
    else {
      kept.push({ picture, image, colour: mainColour(signature) })
      signatures.set(thing, [...others, signature])
    }
  }

  // Which words a picture takes does not depend on the sets that are drawn from.
  const turns = [...iconSets, openClipart]
  const held = holdOut(kept.map(({ picture }) => picture))
  function* entries(): Generator<PackEntry> {
    for (const [i, { picture, image, colour }] of kept.entries()) {
      const { set, subject } = picture
      const id = `${set.id}-${subject.hexcode}`
      const info = {
        id,
        basename: `${id}.png`,
        ...iconCaptions(subject, set, turns.indexOf(set), vocabulary, colour),
        width: size,
        height: size,
        concept: subject.concept.id,
        label: subject.label,
        style: set.style,
        set: set.id,
        tags: [...subject.concept.tags],
        split: held[i] ? 'held-out' : 'train',
        ...(held[i] ? { heldOut: held[i] } : {}),
      }
      yield { key: `icons-${id}`, info, image }
    }
  }
  const packed = await writePacks(folder, 'icons', entries())
  const styles: Record<string, number> = {}
  for (const { picture } of kept) styles[picture.set.style] = (styles[picture.set.style] ?? 0) + 1
  const report: IconReport = {
    ...packed,
    styles,
    heldOut: {
      concept: held.filter((kind) => kind === 'concept').length,
      pair: held.filter((kind) => kind === 'pair').length,
    },
    leftOut,
    notRendered,
  }
  writeFileAtomic(join(folder, 'ATTRIBUTION.md'), attributionOf(sets, styles))
  writeFileAtomic(join(folder, 'icons-report.json'), `${JSON.stringify(report, null, 2)}\n`)
  const captioned = [...entries()].map(({ key, info, image }) => ({ key, image, caption: info.prompt }))
  writeFileAtomic(join(folder, 'contact-sheet.png'), await drawContactSheet(captioned, 200))
  return report
}
