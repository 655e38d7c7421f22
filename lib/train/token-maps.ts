/** Token maps of a data set: the tokenizer's indices of every image over all scales, computed once and cached in a file. */
import { existsSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { readSafetensors, writeSafetensors } from '../checkpoint/index.js'
import { type ImageCaptionDataset, toTensor } from '../data/index.js'
import type { Tokenizer } from '../models/tokenizer/index.js'
import { concat, noGrad, reshape, scope, Tensor } from '../tensor/index.js'

/**
 * Indices of all images, (N, L) row-major, L the tokens over all scales.
 * @param file the cache; its name must depend on data and tokenizer
 */
export async function tokenMaps(
  tokenizer: Tokenizer,
  dataset: ImageCaptionDataset,
  file: string,
  device: string,
  onProgress: (done: number, total: number) => void = () => {},
  signal?: AbortSignal,
): Promise<Int32Array> {
  if (existsSync(file)) return scope(() => readSafetensors(file).tensors.get('tokens')!.ints())
  mkdirSync(dirname(file), { recursive: true })
  const chunk = 32
  const rows: Int32Array[] = []
  for (let begin = 0; begin < dataset.length; begin += chunk) {
    signal?.throwIfAborted()
    const samples = Array.from({ length: Math.min(chunk, dataset.length - begin) }, (_, i) => begin + i)
    const pixels = await Promise.all(samples.map((i) => dataset.load(i)))
    const tokens = noGrad(() =>
      scope(() => {
        const indices = tokenizer.tokenize(toTensor(pixels, dataset.resolution, { device }))
        return concat(
          indices.map((map) => reshape(map, [samples.length, -1])),
          1,
        ).ints() // (B, L)
      }),
    )
    rows.push(tokens)
    onProgress(begin + samples.length, dataset.length)
    await new Promise(setImmediate)
  }
  const length = rows[0].length / Math.min(chunk, dataset.length)
  const all = new Int32Array(dataset.length * length)
  rows.forEach((part, i) => {
    all.set(part, i * chunk * length)
  })
  scope(() => {
    writeSafetensors(file, [['tokens', Tensor.from(all, [dataset.length, length])]], { format: 'star-token-maps-1' })
  })
  return all
}
