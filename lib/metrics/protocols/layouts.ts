/** The folders that the scorers of GenEval and DPG-Bench read. */
import { join } from 'node:path'
import type { LoadedModel } from '../../engine/loaded-model.js'
import { makeFolder, writeFileAtomic } from '../../native/files.js'
import { drawMissing, fourInOne, type ProtocolOptions, pictureFile, protocolSettings, type Unit } from './pictures.js'
import { readDpg, readGenEval } from './prompts.js'

/** Pictures of each prompt in both benchmarks. */
const samples = 4

const seeds = (prompt: string, seed: number): { prompt: string; seed: number }[] =>
  Array.from({ length: samples }, (_, j) => ({ prompt, seed: seed + j }))

export interface Layout {
  /** Folder for the scorer. */
  folder: string
  prompts: number
  /** Side of one picture. */
  side: number
}

/**
 * GenEval: pictures/00000/samples/00000.png … 00003.png of each prompt, with its line in metadata.jsonl beside them.
 * @param prompts evaluation_metadata.jsonl
 */
export async function drawGenEval(model: LoadedModel, prompts: string, options: ProtocolOptions): Promise<Layout> {
  const all = readGenEval(prompts)
  const settings = protocolSettings(model, 'geneval', options)
  const folder = join(options.out, 'pictures')
  const side = model.info.imageSize
  const units = all.map(({ id, prompt, metadata }): Unit => {
    const drawings = seeds(prompt, options.seed)
    const file = join(folder, id, 'metadata.jsonl')
    return {
      drawings,
      file,
      write: (pictures) => {
        makeFolder(join(folder, id, 'samples'))
        pictures.forEach((data, j) => {
          const name = `${String(j).padStart(5, '0')}.png`
          writeFileAtomic(join(folder, id, 'samples', name), pictureFile(data, side, settings, [drawings[j]]))
        })
        writeFileAtomic(file, JSON.stringify(metadata))
      },
    }
  })
  await drawMissing(model, units, settings, options)
  return { folder, prompts: all.length, side }
}

/**
 * DPG-Bench: pictures/ID.png of each prompt, four pictures 2×2.
 * @param prompts folder of text files, or dpg_bench.csv
 */
export async function drawDpg(model: LoadedModel, prompts: string, options: ProtocolOptions): Promise<Layout> {
  const all = readDpg(prompts)
  const settings = protocolSettings(model, 'dpg', options)
  const folder = join(options.out, 'pictures')
  const side = model.info.imageSize
  const units = all.map(({ id, prompt }): Unit => {
    const drawings = seeds(prompt, options.seed)
    const file = join(folder, `${id}.png`)
    return {
      drawings,
      file,
      write: (pictures) => writeFileAtomic(file, pictureFile(fourInOne(pictures, side), 2 * side, settings, drawings)),
    }
  })
  await drawMissing(model, units, settings, options)
  return { folder, prompts: all.length, side }
}
