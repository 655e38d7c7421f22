/** Sample pictures of a run: what the transformer draws of some prompts, or what the tokenizer makes of held-out images. */

import type { SamplerHead, StarTransformer, TextInput } from '../../models/star/index.js'
import { imageSide, pixelsOf, type Tokenizer } from '../../models/tokenizer/index.js'
import { imageNoise } from '../../sampling/image-noise.js'
import { generate, type SamplingOptions } from '../../sampling/index.js'
import { keep, noGrad, scope, slice, type Tensor } from '../../tensor/index.js'
import type { TextBatch, TextStates } from '../data/text-states.js'
import type { RecordedPicture, RecordedSample } from '../run-folder/recorder.js'

export interface DrawOptions {
  tokenizer: Tokenizer
  transformer: StarTransformer
  samplerHead?: SamplerHead | null
  text: TextStates
  device: string
  prompts: readonly string[]
  settings: SamplingOptions
}

/** Pictures drawn at once. */
const together = 4

/** One picture of each prompt, from the same random numbers every time, with the picture after each scale. */
export async function drawPrompts(options: DrawOptions): Promise<RecordedSample[]> {
  const samples: RecordedSample[] = []
  for (let begin = 0; begin < options.prompts.length; begin += together)
    samples.push(...(await drawBatch({ ...options, prompts: options.prompts.slice(begin, begin + together) })))
  return samples
}

async function drawBatch(options: DrawOptions): Promise<RecordedSample[]> {
  const { tokenizer, transformer, samplerHead, text, device, prompts, settings } = options
  const side = imageSide(tokenizer.config)
  const decode = (fHat: Tensor): Tensor => noGrad(() => scope(() => tokenizer.decode(fHat)))
  const previews: Uint8Array[][] = []
  const owned: Tensor[] = []
  const own = (tensor: Tensor): Tensor => {
    owned.push(keep(tensor))
    return tensor
  }
  const part = ({ states, pooled, mask }: TextBatch, begin: number, end: number): TextInput => ({
    states: own(slice(states, 0, begin, end)),
    pooled: own(slice(pooled, 0, begin, end)),
    mask: own(slice(mask, 0, begin, end)),
  })
  try {
    const count = prompts.length
    const { conditional, empty } = scope(() => {
      const batch = text.batch([...prompts, ''], device)
      return { conditional: part(batch, 0, count), empty: part(batch, count, count + 1) }
    })
    const fHat = await generate({
      transformer,
      quantizer: tokenizer.quantizer,
      samplerHead,
      text: conditional,
      empty,
      settings,
      noise: imageNoise(
        prompts.map((_, i) => i),
        device,
      ),
      decode,
      onScale: ({ preview }) => {
        const pixels = preview()
        owned.push(pixels)
        previews.push(pixelsOf(pixels))
      },
    })
    owned.push(fHat)
    const last = decode(fHat)
    owned.push(last)
    return pixelsOf(last).map((data, i) => ({
      prompt: prompts[i],
      picture: { width: side, height: side, data },
      scales: sideBySide(
        previews.map((pictures) => pictures[i]),
        side,
      ),
    }))
  } finally {
    for (const tensor of owned) tensor.dispose()
  }
}

/** Pictures of one size in a row. */
export function sideBySide(pictures: readonly Uint8Array[], side: number): RecordedPicture {
  const width = side * pictures.length
  const data = new Uint8Array(width * side * 3)
  pictures.forEach((picture, i) => {
    for (let y = 0; y < side; y++)
      data.set(picture.subarray(y * side * 3, (y + 1) * side * 3), (y * width + i * side) * 3)
  })
  return { width, height: side, data }
}
