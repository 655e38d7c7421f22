/** Sample pictures of a run: what the transformer draws of some prompts, or what the tokenizer makes of held-out images. */

import { drawPictures, type PictureModels, type PictureSize, type SamplingOptions } from '../../sampling/index.js'
import { keep, scope } from '../../tensor/index.js'
import type { TextStates } from '../data/text-states.js'
import type { RecordedPicture, RecordedSample } from '../run-folder/recorder.js'

export interface DrawOptions extends PictureModels {
  text: TextStates
  device: string
  prompts: readonly string[]
  settings: SamplingOptions
  size: PictureSize
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

async function drawBatch({
  text: states,
  device,
  prompts,
  settings,
  size,
  ...models
}: DrawOptions): Promise<RecordedSample[]> {
  const previews: Uint8Array[][] = []
  const text = scope(() => {
    const batch = states.batch([...prompts, ''], device)
    for (const tensor of Object.values(batch)) keep(tensor)
    return batch
  })
  try {
    const pixels = await drawPictures({
      ...models,
      text,
      empty: prompts.length,
      pictures: prompts.map((_, i) => ({ prompt: i, seed: i })),
      settings,
      size,
      onScale: ({ preview }) => {
        previews.push(preview())
      },
    })
    return pixels.map((data, i) => ({
      prompt: prompts[i],
      picture: { ...size, data },
      scales: sideBySide(
        previews.map((pictures) => pictures[i]),
        size,
      ),
    }))
  } finally {
    for (const tensor of Object.values(text)) tensor.dispose()
  }
}

/** Pictures of one size in a row. */
export function sideBySide(pictures: readonly Uint8Array[], { width: own, height }: PictureSize): RecordedPicture {
  const width = own * pictures.length
  const data = new Uint8Array(width * height * 3)
  pictures.forEach((picture, i) => {
    for (let y = 0; y < height; y++)
      data.set(picture.subarray(y * own * 3, (y + 1) * own * 3), (y * width + i * own) * 3)
  })
  return { width, height, data }
}
