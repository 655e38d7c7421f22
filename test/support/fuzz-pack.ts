/**
 * Flips bits anywhere in a pack, its info file or a tar, and loads what is left as training does: every sample must be the one
 * it says it is, to the pixel, or be counted as damaged; or the data must be refused with an error that names the file.
 * `star pack verify` must find every change of a file it has a checksum of. Anything else, a crash, or memory beyond a limit fails.
 * Arguments: seconds or "N cases", first seed (default 1). Prints the outcome of the cases.
 */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BadRecords } from '../../lib/data/bad-records.js'
import { ImageCaptionDataset, packImages, verifyPacks } from '../../lib/data/index.js'
import { Pipeline } from '../../lib/data/pipeline.js'
import { PackSource, type SampleSource } from '../../lib/data/source.js'
import { TarSource } from '../../lib/data/tar-source.js'
import { StarError } from '../../lib/native/index.js'
import { Random } from '../../lib/tensor/index.js'
import { numberedTar } from './tiny-images.js'

const images = 24
const side = 32
const memoryLimit = 1e9
const [budget = '1', seed = '1'] = process.argv.slice(2)
const cases = /^(\d+) cases$/.exec(budget)?.[1]

const scratch = mkdtempSync(join(tmpdir(), 'fuzz-pack-'))
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }))
const at = (...parts: string[]): string => join(scratch, ...parts)

/** The sound data: a pack with its report, and a tar. */
mkdirSync(at('tars'))
await numberedTar(at('tars', 'a.tar'), images, 0, side)
await packImages([at('tars', 'a.tar')], { dataset: 'n', out: at('packs') })
const files = ['packs/n-000000', 'packs/n-000000-info.json', 'tars/a.tar'] as const
const sound = Object.fromEntries(files.map((file) => [file, readFileSync(at(file))]))

async function load(source: SampleSource, total: number): Promise<{ pixels: Map<string, Uint8Array[]>; bad: number }> {
  const bad = new BadRecords(
    1,
    () => total,
    () => {},
  )
  const pipeline = new Pipeline(source, { resolution: side, workers: 8, seed: 0, flip: 0, cache: null, bad })
  const pixels = new Map<string, Uint8Array[]>()
  const { samples } = await pipeline.next(images)
  for (const { id, pixels: own } of samples) pixels.set(id, [...(pixels.get(id) ?? []), own!])
  source.close()
  return { pixels, bad: bad.count }
}

async function loadPack(folder: string) {
  const dataset = await ImageCaptionDataset.open(join(folder, 'n-000000'), {
    resolution: side,
    filters: { strip: false },
  })
  const loaded = await load(new PackSource(dataset, { once: true }), dataset.length)
  return { ...loaded, bad: loaded.bad + dataset.unknown.length }
}

async function loadTar(folder: string) {
  let bad = 0
  const source = await TarSource.open([join(folder, 'a.tar')], { resolution: side, once: true }, () => bad++)
  const loaded = await load(source, images)
  return { ...loaded, bad: loaded.bad + bad }
}

const whole = {
  packs: (await loadPack(at('packs'))).pixels,
  tars: (await loadTar(at('tars'))).pixels,
}
if (whole.packs.size !== images || whole.tars.size !== images) throw new Error('the sound data does not load')

const random = new Random(Number(seed))
const counts: Record<string, number> = {}
/** What was flipped, for errors. */
let last = ''
const count = (outcome: string): void => {
  counts[outcome] = (counts[outcome] ?? 0) + 1
}

async function attempt(number: number): Promise<void> {
  const file = files[[0, 0, 0, 1, 2, 2][random.integer(6)]]
  const [kind, name] = file.split('/') as ['packs' | 'tars', string]
  const bytes = Buffer.from(sound[file])
  // Most often one bit; the first pages of a pack hold its structure, the rest the images.
  const range = random.integer(3) === 0 ? Math.min(bytes.length, 3 * 4096) : bytes.length
  const flips = Array.from({ length: random.integer(4) === 0 ? 1 + random.integer(6) : 1 }, () => ({
    byte: random.integer(range),
    bit: random.integer(8),
  }))
  for (const { byte, bit } of flips) bytes[byte] ^= 1 << bit
  last = `${file}, ${flips.map(({ byte, bit }) => `bit ${bit} of byte ${byte}`).join(', ')}`
  const folder = at(`case-${number}`)
  mkdirSync(folder)
  try {
    if (kind === 'packs')
      for (const other of ['n-000000', 'n-000000-info.json', 'pack-report.json'])
        if (other !== name) copyFileSync(at('packs', other), join(folder, other))
    writeFileSync(join(folder, name), bytes)
    const { pixels, bad } = await (kind === 'packs' ? loadPack(folder) : loadTar(folder))
    let seen = 0
    for (const [id, all] of pixels) {
      // A bit of an info file or of a name in a tar may give a record another name; its pixels are those of some record.
      const known = whole[kind].get(id) ?? [...whole[kind].values()].flat()
      for (const own of all) {
        if (!known.some((expected) => Buffer.from(expected).equals(own)))
          throw new Error(`${id} has pixels that nobody wrote`)
        seen++
      }
    }
    if (seen < images && bad === 0 && file !== 'packs/n-000000-info.json' && kind !== 'tars')
      throw new Error(`${images - seen} samples are missing and none is counted as damaged`)
    count(`${file}: ${bad > 0 ? 'counted as damaged' : 'read as it was'}`)
  } catch (error) {
    if (!(error instanceof StarError)) throw error
    if (!error.message.includes(folder)) throw new Error(`the error does not name the file: ${error.message}`)
    count(`${file}: refused`)
  }
  if (kind === 'packs' && !bytes.equals(sound[file])) await mustBeFound(folder)
  rmSync(folder, { recursive: true })
}

async function mustBeFound(folder: string): Promise<void> {
  for await (const { problems } of verifyPacks([folder]))
    if (problems.length === 0) throw new Error('star pack verify finds nothing wrong')
}

const until = Date.now() + 1000 * Number(budget)
let done = 0
for (; cases ? done < Number(cases) : Date.now() < until; done++) {
  try {
    await attempt(done)
  } catch (error) {
    throw new Error(`seed ${seed}, case ${done}: ${last}`, { cause: error })
  }
  if (process.memoryUsage.rss() > memoryLimit) throw new Error(`case ${done}: ${process.memoryUsage.rss()} bytes`)
}
console.log(JSON.stringify({ cases: done, counts, maxRSS: process.resourceUsage().maxRSS }, null, 2))
