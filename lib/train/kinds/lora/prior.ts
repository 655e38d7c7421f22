/**
 * Prior preservation (DreamBooth, arXiv 2208.12242): pictures that the model itself draws, as token maps, which it goes on being
 * trained on so that it does not forget what it knew. They are drawn once and kept in the run folder.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import type { Grid } from '../../../models/grid.js'
import type { StarTransformer } from '../../../models/star/index.js'
import { imageNoise } from '../../../sampling/image-noise.js'
import { generate, type SamplingOptions } from '../../../sampling/index.js'
import { keep, scope, Tensor } from '../../../tensor/index.js'
import { readSafetensors, writeSafetensors } from '../../../weights/index.js'
import type { DataConfig } from '../../config/data.js'
import type { TaskContext } from '../../data/context.js'
import type { TokenData } from '../../data/token-data.js'
import type { RunFolder } from '../../run-folder/run-folder.js'

export interface PriorOptions {
  prompts: readonly string[]
  /** N */
  pictures: number
  /** Of the first picture; the next has the next. */
  seed: number
  settings: SamplingOptions
  /** Of the weights that draw. */
  hash: string
  /** Sizes that each is drawn in, in place of the square. */
  buckets?: DataConfig['buckets']
}

/** N pictures as tokens, each in all shapes that are trained on: a step's pictures have the shape of its images. */
export interface Prior {
  captions: readonly string[]
  /** (N, Σ L) row-major: of each picture the tokens of its shapes, one after the other */
  tokens: Int32Array
  /** Where those of a shape lie in a row. */
  shapes: readonly PriorShape[]
}

interface PriorShape {
  /** The last scale's map. */
  grid: Grid
  begin: number
  /** L */
  length: number
}

/** Tokens (B, L) of the pictures at some rows, in the shape with this last map. */
export function priorTokens({ tokens, shapes }: Prior, rows: readonly number[], grid: Grid): Int32Array {
  const { begin, length } = shapes.find(({ grid: own }) => own.rows === grid.rows && own.cols === grid.cols)!
  const row = rowOf(shapes)
  const chosen = new Int32Array(rows.length * length)
  for (const [i, n] of rows.entries())
    chosen.set(tokens.subarray(n * row + begin, n * row + begin + length), i * length)
  return chosen
}

/** Tokens of one picture in all shapes. */
const rowOf = (shapes: readonly PriorShape[]): number => shapes.reduce((sum, { length }) => sum + length, 0)

function shapesOf(grids: readonly Grid[], transformer: StarTransformer): PriorShape[] {
  let end = 0
  return grids.map((grid) => {
    const length = transformer.levelsOf(grid).at(-1)!.end
    const begin = end
    end += length
    return { grid, begin, length }
  })
}

/** Pictures drawn at once. */
const together = 8

/** What the pictures depend on. */
const identity = (options: PriorOptions): string => createHash('sha256').update(JSON.stringify(options)).digest('hex')

/**
 * The pictures of the run folder, or new ones: the same in all processes, of which the first draws.
 * @throws ERR_ABORTED when the signal of the context fires
 */
export async function openPrior(
  options: PriorOptions,
  transformer: StarTransformer,
  data: TokenData,
  run: RunFolder,
  context: TaskContext,
): Promise<Prior> {
  const { group } = context
  const file = run.file('prior.safetensors')
  const captions = Array.from({ length: options.pictures }, (_, i) => options.prompts[i % options.prompts.length])
  const shapes = shapesOf(data.grids, transformer)
  const size = captions.length * rowOf(shapes)
  let tokens = group.rank === 0 ? readPrior(file, identity(options)) : null
  if (group.rank === 0 && !tokens) {
    const drawn = new Int32Array(size)
    for (const shape of shapes)
      await drawPrior({ captions, shapes, tokens: drawn }, shape, options, { transformer, data, context })
    const metadata = { identity: identity(options), prompts: JSON.stringify(options.prompts) }
    scope(() => writeSafetensors(file, [['tokens', Tensor.from(drawn, [captions.length, rowOf(shapes)])]], metadata))
    tokens = drawn
  }
  if (group.size === 1) return { captions, tokens: tokens!, shapes }
  return scope(() => {
    // f32 holds every index of a codebook.
    const values = tokens ? Float32Array.from(tokens) : new Float32Array(size)
    const shared = Tensor.from(values, [values.length], { device: context.device })
    group.broadcast(shared).wait()
    return { captions, tokens: Int32Array.from(shared.floats()), shapes }
  })
}

/** Null where there are none, or others. @throws ERR_FILE for a damaged file */
function readPrior(file: string, expected: string): Int32Array | null {
  if (!existsSync(file)) return null
  return scope(() => {
    const { tensors, metadata } = readSafetensors(file)
    return metadata.identity === expected ? (tensors.get('tokens')?.ints() ?? null) : null
  })
}

/** Draws all pictures in one of their shapes. */
async function drawPrior(
  { captions, tokens, shapes }: Prior,
  { grid, begin: from }: PriorShape,
  { seed, settings }: PriorOptions,
  { transformer, data, context }: { transformer: StarTransformer; data: TokenData; context: TaskContext },
): Promise<void> {
  const { tokenizer, text: states, device } = data
  const { signal, onProgress } = context
  const row = rowOf(shapes)
  const before = shapes.findIndex((shape) => shape.begin === from) * captions.length
  for (let begin = 0; begin < captions.length; begin += together) {
    onProgress('drawing pictures for prior preservation', before + begin, shapes.length * captions.length)
    const some = captions.slice(begin, begin + together)
    const prompts = [...new Set(some)]
    const text = scope(() => {
      const batch = states.batch([...prompts, ''], device)
      for (const tensor of Object.values(batch)) keep(tensor)
      return batch
    })
    let place = from
    try {
      using _fHat = await generate({
        transformer,
        quantizer: tokenizer.quantizer,
        text,
        empty: prompts.length,
        prompts: some.map((caption) => prompts.indexOf(caption)),
        independent: true,
        grid,
        settings,
        noise: imageNoise(
          some.map((_, i) => seed + begin + i),
          device,
        ),
        signal,
        onScale: ({ tokens: drawn }) => {
          const [count, size] = drawn!.shape
          const values = drawn!.ints()
          for (let i = 0; i < count; i++)
            tokens.set(values.subarray(i * size, (i + 1) * size), (begin + i) * row + place)
          place += size
        },
      })
    } finally {
      for (const tensor of Object.values(text)) tensor.dispose()
    }
  }
}
