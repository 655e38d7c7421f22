/** Pictures for a measurement, drawn in batches by a model of this thread. */
import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Drawing } from '../engine/drawing-model.js'
import type { LoadedModel } from '../engine/loaded-model.js'
import type { SamplingSettings } from '../sampling/index.js'

export interface DrawnPicture {
  /** Place among the drawings. */
  index: number
  /** side²·3 bytes. */
  picture: Uint8Array
}

export interface DrawAllOptions {
  settings: SamplingSettings
  batchSize: number
  signal: AbortSignal
}

/** Pictures in the order of the drawings; what else is in a batch changes none of them. @throws ERR_ABORTED */
export async function* drawAll(
  model: LoadedModel,
  drawings: readonly Drawing[],
  { settings, batchSize, signal }: DrawAllOptions,
): AsyncGenerator<DrawnPicture> {
  for (let begin = 0; begin < drawings.length; begin += batchSize) {
    const batch = drawings.slice(begin, begin + batchSize)
    const pictures = await model.draw(batch, { settings, signal })
    for (const [i, picture] of pictures.entries()) yield { index: begin + i, picture }
  }
}

/** What tells a file from what may stand in its place later. */
export const filesOf = (paths: readonly string[]): [path: string, size: number, changed: number][] =>
  paths.map((path) => {
    const { size, mtimeMs } = statSync(path)
    return [resolve(path), size, mtimeMs]
  })
