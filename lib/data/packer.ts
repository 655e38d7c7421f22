/**
 * Packs images into the layout of the STAR authors, several at once, in packs of at most 10,000 inputs. Each finished pack is
 * written into the report, with the position in the inputs, so an interrupted packing resumes behind it.
 */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { z } from 'zod'
import { fileError, writeFileAtomic } from '../native/files.js'
import { StarError } from '../native/index.js'
import { captionsOf } from './captions.js'
import { lockFile, type PackEntry, packLimit, writePack } from './pack.js'
import { findInputs, InputError, type LeftOutReason, type PackInput, type PackInputs } from './pack-inputs.js'
import { decodeImage } from './preprocess.js'

export interface PackerOptions {
  /** First part of the packs' and keys' names. */
  dataset: string
  /** Folder of the packs. */
  out: string
  /** Images worked on at once. Default: twice the number of processor cores. */
  workers?: number
  /** Inputs a pack is made of at most. Default 10,000. */
  limit?: number
  /** Fraction of the inputs that gets `split: "held-out"`, for validation; those that name a `split` keep it. Default 0. */
  heldOut?: number
  /** `total` is null where only reading the input tells. */
  onProgress?: (done: number, total: number | null) => void
  signal?: AbortSignal
}

const reportSchema = z.object({
  format: z.literal('star-pack-report-1'),
  dataset: z.string(),
  /** What was packed, and a hash of its names. */
  input: z.object({
    paths: z.array(z.string()),
    kind: z.string(),
    fingerprint: z.string(),
    limit: z.number(),
    heldOut: z.number().default(0),
  }),
  complete: z.boolean(),
  inputs: z.number(),
  images: z.number(),
  /** Images that are kept for validation. */
  heldOut: z.number().default(0),
  leftOut: z.record(z.string(), z.number()),
  packs: z.array(
    z.object({ name: z.string(), images: z.number(), bytes: z.number(), sha256: z.string(), infoSha256: z.string() }),
  ),
  /** Inputs that were left out and why, the first some thousand. */
  leftOutInputs: z.array(z.object({ name: z.string(), reason: z.string(), detail: z.string() })),
  /** Position in the inputs. */
  place: z.unknown(),
})

export type PackReport = z.output<typeof reportSchema>

export const reportName = 'pack-report.json'
const mostListed = 5000
/** LMDB keys are 511 bytes at most, of which the pickle takes some. */
const longestKey = 480

/** The report of a folder of packs, or null where there is none. @throws ERR_FILE when it is damaged */
export function readPackReport(folder: string): PackReport | null {
  const file = join(folder, reportName)
  if (!existsSync(file)) return null
  try {
    return reportSchema.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof z.ZodError)) throw fileError('read', file, error)
    throw new StarError('ERR_FILE', `${file} is no report of "star pack": remove it, and pack again to have it checked`)
  }
}

/** SHA-256 of a file, in hexadecimal. */
export async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256')
  try {
    for await (const part of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(part as Buffer)
  } catch (error) {
    throw fileError('read', file, error)
  }
  return hash.digest('hex')
}

/** Bytes of a PNG as they are, once they were found sound; anything else as a new PNG. */
async function asPng(bytes: Buffer): Promise<{ png: Uint8Array; width: number; height: number }> {
  try {
    const { width, height, data } = await decodeImage(bytes, 'the image')
    const { format, orientation = 1 } = await sharp(bytes).metadata()
    // A loader that does not know EXIF has to find the picture upright too.
    if (format === 'png' && orientation === 1) return { png: bytes, width, height }
    return {
      png: await sharp(data, { raw: { width, height, channels: 3 } })
        .png()
        .toBuffer(),
      width,
      height,
    }
  } catch (error) {
    throw new InputError('badImage', (error as Error).message)
  }
}

/** `split` goes to inputs that name none. */
async function entryOf(input: PackInput, dataset: string, split: Split): Promise<PackEntry> {
  const key = `${dataset}-${input.id}`
  if (Buffer.byteLength(key) > longestKey || input.id === '')
    throw new InputError('badKey', `its name has ${Buffer.byteLength(key)} bytes, expected 1 to ${longestKey}`)
  const given = await input.info()
  const { id = input.id, basename = input.id, prompt, width: _, height: __, ...more } = given
  const info = { id: String(id), basename: String(basename), prompt: typeof prompt === 'string' ? prompt : '' }
  if (captionsOf({ ...more, ...info }).length === 0) throw new InputError('noCaption', 'it has no caption')
  const { png, width, height } = await asPng(await input.image())
  return { key, info: { ...info, width, height, ...split, ...more }, image: png }
}

type Split = { split: 'train' | 'held-out' } | null

/** What became of an input. */
type Outcome = { entry: PackEntry } | { leftOut: { name: string; reason: LeftOutReason; detail: string } }

async function outcomeOf(input: PackInput, dataset: string, split: Split): Promise<Outcome> {
  try {
    return { entry: await entryOf(input, dataset, split) }
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    return { leftOut: { name: input.name, reason: error.reason, detail: error.message.trim() } }
  }
}

const stopped = (signal: AbortSignal | undefined): void => {
  if (signal?.aborted)
    throw new StarError('ERR_ABORTED', 'packing was stopped; the packs that are finished stay', {
      cause: signal.reason,
    })
}

/** Removes what a packing that was killed left half-written. */
function clearTemporary(out: string, dataset: string): void {
  if (!existsSync(out)) return
  for (const name of readdirSync(out)) {
    const match = /^\.(.+)\.(\d+)-[0-9a-f]{12}\.tmp$/.exec(name)
    if (!match?.[1].startsWith(`${dataset}-`) || isAlive(Number(match[2]))) continue
    rmSync(join(out, name), { force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

function startReport(
  paths: readonly string[],
  { kind, fingerprint }: PackInputs,
  { out, dataset, limit = packLimit, heldOut = 0 }: PackerOptions,
): PackReport {
  const input = { paths: [...paths], kind, fingerprint, limit, heldOut }
  const old = readPackReport(out)
  if (old) {
    const same = old.input.fingerprint === fingerprint && old.input.limit === limit && old.dataset === dataset
    if (!same)
      throw new StarError(
        'ERR_FILE',
        `${out} holds packs of another input (${old.dataset}, ${old.input.kind}, ${old.input.paths.join(', ')}): choose another folder, or remove them`,
      )
    if (old.input.heldOut !== heldOut)
      throw new StarError(
        'ERR_FILE',
        `${out} holds packs of which ${old.input.heldOut} is held out, not ${heldOut}: choose another folder, or remove them`,
      )
    const sound = old.packs.every(({ name, bytes }) => {
      const file = join(out, name)
      return existsSync(file) && statSync(file).size === bytes && existsSync(`${file}-info.json`)
    })
    if (!sound)
      throw new StarError(
        'ERR_FILE',
        `${out} does not hold all packs that its ${reportName} names: remove the folder, and pack again`,
      )
    return old
  }
  const empty = { inputs: 0, images: 0, heldOut: 0, leftOut: {}, packs: [], leftOutInputs: [], place: null }
  return { format: 'star-pack-report-1', dataset, input, complete: false, ...empty }
}

/**
 * Packs what `paths` name (see `findInputs`) into `out/DATASET-000000`, …; with the same arguments an interrupted packing is
 * resumed.
 * @returns the report, which lies in `out` too
 * @throws ERR_FILE for missing input and files that cannot be written, ERR_ABORTED through `signal`
 */
export async function packImages(paths: readonly string[], options: PackerOptions): Promise<PackReport> {
  const { dataset, out, onProgress, signal, limit = packLimit, heldOut = 0 } = options
  if (!/^[\p{L}\p{N}_.-]{1,100}$/u.test(dataset) || dataset.startsWith('.'))
    throw new StarError(
      'ERR_ARGUMENT',
      `packImages: the name of the data set is ${JSON.stringify(dataset)}, expected letters, digits, "-", "_" and "."`,
    )
  if (!(heldOut >= 0 && heldOut < 1))
    throw new StarError('ERR_ARGUMENT', `packImages: heldOut is ${heldOut}, expected a fraction from 0 to less than 1`)
  const workers = options.workers ?? 2 * availableParallelism()
  const found = findInputs(paths)
  const below = found.drawsBelow(heldOut)
  const splitOf = ({ draw }: PackInput): Split =>
    heldOut === 0 ? null : { split: draw < below ? 'held-out' : 'train' }
  const report = startReport(paths, found, options)
  if (report.complete) return report
  clearTemporary(out, dataset)
  const inputs = found.from(report.place ?? undefined)[Symbol.asyncIterator]()
  const save = (): void => writeFileAtomic(join(out, reportName), `${JSON.stringify(report, null, 2)}\n`)
  let next = await inputs.next()
  while (!next.done) {
    const name = `${dataset}-${String(report.packs.length).padStart(6, '0')}`
    const draft = structuredClone(report)
    let taken = 0
    const keys = new Set<string>()
    async function* entries(): AsyncGenerator<PackEntry> {
      const queue: Promise<Outcome>[] = []
      try {
        for (;;) {
          while (!next.done && taken < limit && queue.length < workers) {
            const outcome = outcomeOf(next.value, dataset, splitOf(next.value))
            outcome.catch(() => {})
            queue.push(outcome)
            draft.place = next.value.after
            draft.inputs++
            taken++
            next = await inputs.next()
          }
          const outcome = await queue.shift()
          if (!outcome) return
          stopped(signal)
          const told = 'entry' in outcome ? twice(outcome.entry, keys) : outcome.leftOut
          if (told) {
            draft.leftOut[told.reason] = (draft.leftOut[told.reason] ?? 0) + 1
            if (draft.leftOutInputs.length < mostListed) draft.leftOutInputs.push(told)
          } else if ('entry' in outcome) {
            if (outcome.entry.info.split === 'held-out') draft.heldOut++
            yield outcome.entry
          }
          onProgress?.(draft.inputs - queue.length, found.count)
        }
      } finally {
        await Promise.allSettled(queue)
      }
    }
    const file = join(out, name)
    const { count: images } = await writePack(file, entries())
    draft.images += images
    if (images > 0) {
      const [sha256, infoSha256] = [await sha256Of(file), await sha256Of(`${file}-info.json`)]
      draft.packs.push({ name, images, bytes: statSync(file).size, sha256, infoSha256 })
    } else for (const path of [file, `${file}-info.json`, lockFile(file)]) rmSync(path)
    Object.assign(report, draft)
    save()
    stopped(signal)
  }
  report.complete = true
  save()
  return report
}

/** Whether the pack has a record of that name already. */
function twice({ key }: PackEntry, keys: Set<string>): { name: string; reason: LeftOutReason; detail: string } | null {
  if (keys.has(key)) return { name: key, reason: 'twice', detail: 'another input has the same name' }
  keys.add(key)
  return null
}
