/** Pictures of a benchmark's prompts in files: those that are there stay, the others are drawn, by one process or by several. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseConfig } from '../../config/parse-config.js'
import { encodePng } from '../../data/index.js'
import type { Drawing } from '../../engine/drawing-model.js'
import type { LoadedModel } from '../../engine/loaded-model.js'
import { makeFolder, writeFileAtomic } from '../../native/files.js'
import { StarError } from '../../native/index.js'
import { type SamplingOptions, type SamplingSettings, samplingSchema } from '../../sampling/index.js'
import { drawAll } from '../drawing.js'

/** The place of this process among those that share a benchmark. */
export interface Shard {
  rank: number
  size: number
}

export interface ProtocolOptions {
  /** Folder of everything that is written. */
  out: string
  /** Seed of the first picture of each prompt. */
  seed: number
  batchSize: number
  sampling?: SamplingOptions
  shard: Shard
  signal: AbortSignal
  onProgress?: (stage: string, done: number, total: number) => void
}

/** One or more files that are written when their pictures are drawn. */
export interface Unit {
  drawings: readonly Drawing[]
  /** It is complete when this file is there, so it is written last. */
  file: string
  write(pictures: readonly Uint8Array[]): void
}

/** The items of this process: every size-th from its rank on. */
export const sharded = <T>(items: readonly T[], { rank, size }: Shard): T[] => items.filter((_, i) => i % size === rank)

/** What all pictures in a folder were drawn with. */
export interface ProtocolSettings {
  protocol: string
  /** Name, hash of weights, element type and device, as in the files of `star sample`. */
  model: { model: string; weights: string; dtype: string; device: string }
  sampling: SamplingSettings
}

/**
 * Fills in settings and writes them beside the pictures.
 * @throws ERR_CONFIG for settings out of range, or others than the folder's pictures were drawn with
 */
export function protocolSettings(model: LoadedModel, protocol: string, options: ProtocolOptions): ProtocolSettings {
  const { out, seed, sampling } = options
  const named = Object.entries({ ...sampling, seed }).filter(([, value]) => value !== undefined)
  const given = { ...model.info.sampling, ...Object.fromEntries(named) }
  const { name, weights, dtype, device } = model.info
  const settings: ProtocolSettings = {
    protocol,
    model: { model: name, weights, dtype, device },
    sampling: parseConfig(samplingSchema, given, 'the sampling settings'),
  }
  const file = join(out, 'settings.json')
  const text = `${JSON.stringify(settings, null, 2)}\n`
  if (!existsSync(file)) {
    makeFolder(out)
    writeFileAtomic(file, text)
  } else if (readFileSync(file, 'utf8') !== text)
    throw new StarError(
      'ERR_CONFIG',
      `the pictures in ${out} were drawn with other settings (${file}): repeat those, or choose another folder (--out)`,
    )
  return settings
}

/** A PNG that says how it was made, as those of `star sample` do. */
export function pictureFile(
  data: Uint8Array,
  side: number,
  settings: ProtocolSettings,
  drawings: readonly Drawing[],
): Buffer {
  const all = drawings.map((drawing) => ({ ...settings.model, ...settings.sampling, ...drawing }))
  const text = {
    Description: drawings[0].prompt,
    Software: 'star-t2i',
    'star-t2i': JSON.stringify(all.length === 1 ? all[0] : all),
  }
  return encodePng({ width: side, height: side, data, text })
}

/** Pictures 2×2 without a gap: the first two above. */
export function fourInOne(pictures: readonly Uint8Array[], side: number): Uint8Array {
  const row = 3 * side
  const whole = new Uint8Array(4 * side * row)
  pictures.forEach((picture, i) => {
    for (let y = 0; y < side; y++)
      whole.set(picture.subarray(y * row, (y + 1) * row), ((i >> 1) * side + y) * 2 * row + (i % 2) * row)
  })
  return whole
}

/** Draws what is missing of this process's share. @throws ERR_ABORTED; what was drawn stays */
export async function drawMissing(
  model: LoadedModel,
  units: readonly Unit[],
  settings: ProtocolSettings,
  { batchSize, shard, signal, onProgress }: ProtocolOptions,
): Promise<void> {
  const own = sharded(units, shard)
  const missing = own.filter(({ file }) => !existsSync(file))
  let done = own.length - missing.length
  for (let begin = 0; begin < missing.length; ) {
    // As many units as fill a batch, at least one.
    let [end, count] = [begin, 0]
    do count += missing[end++].drawings.length
    while (end < missing.length && count + missing[end].drawings.length <= batchSize)
    const batch = missing.slice(begin, end)
    const drawings = batch.flatMap((unit) => unit.drawings)
    const pictures: Uint8Array[] = []
    for await (const { picture } of drawAll(model, drawings, { settings: settings.sampling, batchSize, signal }))
      pictures.push(picture)
    for (const unit of batch) {
      makeFolder(dirname(unit.file))
      unit.write(pictures.splice(0, unit.drawings.length))
    }
    done += batch.length
    onProgress?.('drawing', done, own.length)
    begin = end
  }
}
