import t from 'tap'
import { SamplerHead } from '../../../lib/models/star/index.js'
import { MultiScaleQuantizer, tokenizerSchema } from '../../../lib/models/tokenizer/index.js'
import { native } from '../../../lib/native/index.js'
import { type GenerateOptions, GraphPool, generate, type SamplingOptions } from '../../../lib/sampling/index.js'
import { affine, canCapture, capture, Random, setDefaultDevice, Tensor } from '../../../lib/tensor/index.js'
import { useDevice } from '../../support/device.js'
import { tinyModel, tinySizes, tinyText } from '../../support/tiny-star.js'

const device = useDevice('simt')
setDefaultDevice(device)

const { patchNums, vocabSize, latentChannels } = tinySizes
const scales = patchNums.length

t.test('recorded work is done at each launch, on the values of that moment', async (t) => {
  t.notOk(canCapture('cpu'))
  t.ok(canCapture(device))
  using x = Tensor.from(Float32Array.of(1, 2, 3), [3])
  using y = Tensor.from(Float32Array.of(0, 0, 0), [3])
  using graph = capture(device, () => y.copyFrom(affine(x, null, 2, 0, 1)))
  t.strictSame([...y.floats()], [0, 0, 0], 'nothing was done yet')
  graph.launch()
  t.strictSame([...y.floats()], [3, 5, 7])
  x.write(Float32Array.of(10, 20, 30))
  graph.launch()
  t.strictSame([...y.floats()], [21, 41, 61])
  t.throws(() => capture('cpu', () => {}), { code: 'ERR_DEVICE' })
  t.throws(
    () =>
      capture(device, () => {
        throw new RangeError('inside')
      }),
    { name: 'RangeError' },
  )
  graph.launch()
  graph.dispose()
  t.throws(() => graph.launch(), { code: 'ERR_ARGUMENT' })
})

/** f̂ and the tokens of all scales. */
async function sample(options: GenerateOptions): Promise<{ fHat: number[]; tokens: number[] }> {
  const tokens: number[] = []
  using fHat = await generate({
    ...options,
    onScale: (event) => {
      tokens.push(...(event.tokens?.ints() ?? []))
    },
  })
  return { fHat: [...fHat.floats()], tokens }
}

const cases: Record<string, SamplingOptions> = {
  guided: { cfg: 3, topK: 5 },
  'without guidance': { cfg: 0 },
  'a soft mix': { moreSmooth: true },
  'in steps': { stableFrom: 1, version: 'new' },
}

for (const [name, settings] of Object.entries(cases)) {
  t.test(`generations from recordings are those of ops one by one: ${name}`, async (t) => {
    const before = native.memory(device).liveBlocks
    {
      using transformer = tinyModel()
      using quantizer = new MultiScaleQuantizer(tokenizerSchema.parse({ patchNums, vocabSize, latentChannels }), {
        init: new Random(5),
      })
      using samplerHead = new SamplerHead(transformer.config, { init: new Random(8) })
      const graphs = new GraphPool()
      // The first leaves buffers, the second records, the third launches; other prompts each time.
      for (const seed of [1, 2, 3]) {
        const text = tinyText(3, 60 + seed)
        const options = { transformer, quantizer, samplerHead, text, empty: 2, settings: { ...settings, seed } }
        const plain = await sample(options)
        t.same(await sample({ ...options, graphs }), plain, `seed ${seed}`)
        t.not(plain.fHat.length, 0)
        for (const tensor of Object.values(text)) tensor?.dispose()
      }
      graphs.dispose()
    }
    t.equal(native.memory(device).liveBlocks, before, 'all memory is given back')
  })
}

t.test('a recording takes what is given of a scale anew each time, like noise', async (t) => {
  const before = native.memory(device).liveBlocks
  {
    using transformer = tinyModel()
    using quantizer = new MultiScaleQuantizer(tokenizerSchema.parse({ patchNums, vocabSize, latentChannels }), {
      init: new Random(5),
    })
    const graphs = new GraphPool()
    const text = tinyText(2)
    const given = (k: number, token: number, share: number) => {
      const shape = [2, patchNums[k] ** 2]
      const count = 2 * patchNums[k] ** 2
      return {
        tokens: Tensor.from(new Int32Array(count).fill(token), shape),
        known: Tensor.from(new Float32Array(count).fill(share), shape),
      }
    }
    const seen = new Set<string>()
    for (const round of [1, 2, 3, 4]) {
      const first = given(0, round, 1)
      const third = given(2, round + 4, round / 4)
      for (const conditions of [[first], [first, null, third], [null, null, third], undefined]) {
        const options = { transformer, quantizer, text, conditions, settings: { cfg: 0, seed: 1 } }
        const plain = await sample(options)
        t.same(await sample({ ...options, graphs }), plain, `round ${round}`)
        seen.add(plain.fHat.join())
      }
      for (const tensor of [...Object.values(first), ...Object.values(third)]) tensor.dispose()
    }
    t.equal(seen.size, 13, 'every condition matters')
    graphs.dispose()
    for (const tensor of Object.values(text)) tensor?.dispose()
  }
  t.equal(native.memory(device).liveBlocks, before, 'all memory is given back')
})

t.test('a shape at work is not lent twice, and an aborted one can be used again', async (t) => {
  using transformer = tinyModel()
  using quantizer = new MultiScaleQuantizer(tokenizerSchema.parse({ patchNums, vocabSize, latentChannels }), {
    init: new Random(5),
  })
  const graphs = new GraphPool()
  const text = tinyText(2)
  const options = { transformer, quantizer, text, settings: { cfg: 0, seed: 1 } }
  const plain = await sample(options)
  const both = await Promise.all([sample({ ...options, graphs }), sample({ ...options, graphs })])
  t.same(both, [plain, plain])
  for (let stop = 1; stop < scales; stop++) {
    const abort = new AbortController()
    const stopped = generate({
      ...options,
      graphs,
      signal: abort.signal,
      onScale: ({ scaleIndex }) => {
        if (scaleIndex + 1 === stop) abort.abort()
      },
    })
    await t.rejects(stopped, { code: 'ERR_ABORTED' })
    t.same(await sample({ ...options, graphs }), plain)
  }
  graphs.dispose()
  for (const tensor of Object.values(text)) tensor?.dispose()
})

t.test('shapes beyond those kept are given back', async (t) => {
  using transformer = tinyModel()
  using quantizer = new MultiScaleQuantizer(tokenizerSchema.parse({ patchNums, vocabSize, latentChannels }), {
    init: new Random(5),
  })
  const graphs = new GraphPool()
  const blocks: number[] = []
  for (let count = 1; count <= 7; count++) {
    const text = tinyText(count)
    for (let i = 0; i < 2; i++) await sample({ transformer, quantizer, text, graphs, settings: { cfg: 0 } })
    for (const tensor of Object.values(text)) tensor?.dispose()
    blocks.push(native.memory(device).liveBlocks)
  }
  t.equal(blocks[6], blocks[5], `blocks after each shape: ${blocks.join(', ')}`)
  graphs.dispose()
})
