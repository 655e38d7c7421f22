/** Where a sampler head draws the tokens: in every version and with moreSmooth alike, from `stableFrom` on. */
import t from 'tap'
import { SamplerHead } from '../../../lib/models/star/index.js'
import { MultiScaleQuantizer, tokenizerSchema } from '../../../lib/models/tokenizer/index.js'
import { generate, type SamplingOptions } from '../../../lib/sampling/index.js'
import { Random } from '../../../lib/tensor/index.js'
import { signedValues } from '../../support/gradcheck.js'
import { tinyModel, tinySizes, tinyText } from '../../support/tiny-star.js'

const { vocabSize, latentChannels } = tinySizes
// Version old narrows its top-k at index 9, so the models have ten scales and more.
const patchNums = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
const quantizer = new MultiScaleQuantizer(tokenizerSchema.parse({ patchNums, vocabSize, latentChannels }), {
  init: new Random(5),
})
const transformer = tinyModel({ patchNums })
const samplerHead = new SamplerHead(transformer.config, { init: new Random(8) })
let salt = 100
for (const { tensor, trainable } of samplerHead.namedTensors())
  if (trainable) tensor.write(signedValues(tensor.count, salt++).map((v) => 0.4 * v))
const text = tinyText(3)
t.teardown(() => {
  for (const owned of [quantizer, transformer, samplerHead, ...Object.values(text)]) owned?.dispose()
})

interface Drawn {
  fHat: Float32Array
  /** Scale indices of the steps of stable sampling, in order. */
  steps: number[]
  tokens: (Int32Array | null)[]
}

async function draw(settings: SamplingOptions, head: SamplerHead | null = samplerHead): Promise<Drawn> {
  const steps: number[] = []
  const tokens: (Int32Array | null)[] = []
  using fHat = await generate({
    ...{ transformer, quantizer, samplerHead: head, text, empty: 2 },
    settings: { seed: 3, cfg: 2, stableFrom: 8, ...settings },
    onStep: ({ scaleIndex }) => steps.push(scaleIndex),
    onScale: ({ tokens: drawn }) => {
      tokens.push(drawn ? drawn.ints() : null)
    },
  })
  return { fHat: fHat.floats(), steps, tokens }
}

/** Eight steps in each of the scales 8, 9, 10. */
const allSteps = [8, 9, 10].flatMap((k) => Array<number>(8).fill(k))

t.test('version old steps through the head, and only its filter differs from version new', async (t) => {
  // With at most 11 tokens its top-k of 300 and 100 keeps all of them; top-p is 0.8 in any case.
  const old = await draw({ version: 'old', topK: 0, topP: 0.3 })
  t.same(old.steps, allSteps)
  const plain = await draw({ version: 'new', topK: 0, topP: 0.8 })
  t.same(old.tokens, plain.tokens)
  t.same(old.fHat, plain.fHat)
  const without = await draw({ version: 'old', topK: 0 }, null)
  t.same(without.steps, [])
  t.same(without.tokens.slice(0, 8), old.tokens.slice(0, 8), 'before stableFrom there is no difference')
  t.notSame(without.tokens.slice(8), old.tokens.slice(8))
})

t.test('moreSmooth mixes the scales before stableFrom, and the head draws the rest', async (t) => {
  const smooth = await draw({ version: 'new', moreSmooth: true })
  t.same(smooth.steps, allSteps)
  t.same(
    smooth.tokens.map((drawn) => drawn === null),
    [...Array<boolean>(8).fill(true), false, false, false],
  )
  const stable = await draw({ version: 'new', moreSmooth: true, stableFrom: 0 })
  t.same(
    stable.fHat,
    (await draw({ version: 'new', stableFrom: 0 })).fHat,
    'with no scale left to mix it changes nothing',
  )
  const mixed = await draw({ version: 'new', moreSmooth: true, stableFrom: 11 })
  t.same(mixed.fHat, (await draw({ version: 'new', moreSmooth: true }, null)).fHat)
})
