/**
 * Measures a model on the data it was trained on: retrieval accuracy of pictures drawn from training captions, and PSNR of
 * held-out pictures after the round trip through the tokenizer.
 *
 *     node dist/scripts/evaluate.js MODEL PACK [--count 200] [--seed 1] [--cfg …] [--top-k …] [--top-p …]
 */
import { parseArgs } from 'node:util'
import { ImageCaptionDataset } from '../lib/data/index.js'
import { Star, StarError } from '../lib/index.js'
import { type RetrievalResult, retrieval, thumbnail } from '../lib/metrics/retrieval.js'
import { findModel, loadPart } from '../lib/models/source.js'
import { psnr, Tokenizer } from '../lib/models/tokenizer/index.js'
import { noGrad, Random, scope, Tensor } from '../lib/tensor/index.js'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    cfg: { type: 'string' },
    'top-k': { type: 'string' },
    'top-p': { type: 'string' },
  },
})
if (positionals.length !== 2)
  throw new StarError(
    'ERR_ARGUMENT',
    'usage: evaluate MODEL PACK [--count N] [--seed N] [--cfg X] [--top-k N] [--top-p X]',
  )
const [model, packs] = positionals
const number = (text: string | undefined): number | undefined => (text === undefined ? undefined : Number(text))

await using star = await Star.load(model, { device: 'cpu' })
const resolution = star.imageSize
const train = await ImageCaptionDataset.open(packs, { resolution, split: 'train' })
const heldOut = await ImageCaptionDataset.open(packs, { resolution, split: 'held-out' })

/** Pictures of training captions against all pictures of the data set, training and held-out. */
async function measureRetrieval(): Promise<RetrievalResult> {
  const order = Array.from({ length: train.length }, (_, i) => i)
  new Random(Number(values.seed)).shuffle(order)
  const chosen = order.slice(0, Number(values.count))
  const { images } = await star.generate(
    chosen.map((i) => train.captions(i)[0]),
    {
      batchSize: 20,
      seed: Number(values.seed),
      cfg: number(values.cfg),
      topK: number(values['top-k']),
      topP: number(values['top-p']),
    },
  )
  const references: Float32Array[] = []
  for (const data of [train, heldOut])
    for (let i = 0; i < data.length; i++) references.push(thumbnail(await data.load(i), resolution))
  return retrieval(
    images.map((image) => thumbnail(image.data, resolution)),
    chosen,
    references,
  )
}

async function measureReconstruction(): Promise<number> {
  const source = findModel(model)
  using tokenizer = new Tokenizer(source.tokenizer, { init: null, device: 'cpu' })
  loadPart(source, 'tokenizer', tokenizer)
  let squares = 0
  for (let begin = 0; begin < heldOut.length; begin += 16) {
    const samples = Array.from({ length: Math.min(16, heldOut.length - begin) }, (_, i) => begin + i)
    const images = await Promise.all(samples.map((i) => heldOut.load(i)))
    const pixels = images.flatMap((image) => Array.from(image, (v) => v / 127.5 - 1))
    squares += noGrad(() =>
      scope(() => {
        const given = tokenizer.reconstruct(Tensor.from(pixels, [samples.length, resolution, resolution, 3])).floats()
        return given.reduce((sum, v, i) => sum + (v - pixels[i]) ** 2, 0)
      }),
    )
  }
  return psnr(squares / (heldOut.length * resolution ** 2 * 3))
}

console.log(
  JSON.stringify(
    {
      model,
      retrieval: await measureRetrieval(),
      heldOutImages: heldOut.length,
      heldOutPsnr: await measureReconstruction(),
    },
    null,
    2,
  ),
)
