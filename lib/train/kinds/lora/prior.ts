/**
 * Prior preservation (DreamBooth, arXiv 2208.12242): pictures that the model itself draws, as token maps, which it goes on being
 * trained on so that it does not forget what it knew. They are drawn once and kept in the run folder.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import type { StarTransformer } from '../../../models/star/index.js'
import { imageNoise } from '../../../sampling/image-noise.js'
import { generate, type SamplingOptions } from '../../../sampling/index.js'
import { keep, scope, Tensor } from '../../../tensor/index.js'
import { readSafetensors, writeSafetensors } from '../../../weights/index.js'
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
}

/** N pictures as tokens. */
export interface Prior {
  captions: readonly string[]
  /** (N, L) row-major */
  tokens: Int32Array
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
  let tokens = group.rank === 0 ? readPrior(file, identity(options)) : null
  if (group.rank === 0 && !tokens) {
    const drawn = await drawPrior(captions, options, transformer, data, context)
    const metadata = { identity: identity(options), prompts: JSON.stringify(options.prompts) }
    scope(() => writeSafetensors(file, [['tokens', Tensor.from(drawn, [captions.length, data.maps.length])]], metadata))
    tokens = drawn
  }
  if (group.size === 1) return { captions, tokens: tokens! }
  return scope(() => {
    // f32 holds every index of a codebook.
    const values = tokens ? Float32Array.from(tokens) : new Float32Array(captions.length * data.maps.length)
    const shared = Tensor.from(values, [values.length], { device: context.device })
    group.broadcast(shared).wait()
    return { captions, tokens: Int32Array.from(shared.floats()) }
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

async function drawPrior(
  captions: readonly string[],
  { seed, settings }: PriorOptions,
  transformer: StarTransformer,
  { tokenizer, text: states, maps, device }: TokenData,
  { signal, onProgress }: TaskContext,
): Promise<Int32Array> {
  const tokens = new Int32Array(captions.length * maps.length)
  for (let begin = 0; begin < captions.length; begin += together) {
    onProgress('drawing pictures for prior preservation', begin, captions.length)
    const some = captions.slice(begin, begin + together)
    const prompts = [...new Set(some)]
    const text = scope(() => {
      const batch = states.batch([...prompts, ''], device)
      for (const tensor of Object.values(batch)) keep(tensor)
      return batch
    })
    let place = 0
    try {
      using _fHat = await generate({
        transformer,
        quantizer: tokenizer.quantizer,
        text,
        empty: prompts.length,
        prompts: some.map((caption) => prompts.indexOf(caption)),
        independent: true,
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
            tokens.set(values.subarray(i * size, (i + 1) * size), (begin + i) * maps.length + place)
          place += size
        },
      })
    } finally {
      for (const tensor of Object.values(text)) tensor.dispose()
    }
  }
  return tokens
}
