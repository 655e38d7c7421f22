import t from 'tap'
import { LoraAdapters, layersOf } from '../../../lib/models/lora/index.js'
import { SamplerHead, type TextInput } from '../../../lib/models/star/index.js'
import { MultiScaleQuantizer, tokenizerSchema } from '../../../lib/models/tokenizer/index.js'
import { native } from '../../../lib/native/index.js'
import { type GenerateOptions, GraphPool, generate, type SamplingOptions } from '../../../lib/sampling/index.js'
import { affine, canCapture, capture, Random, setDefaultDevice, Tensor } from '../../../lib/tensor/index.js'
import { useDevice } from '../../support/device.js'
import { signed } from '../../support/gradcheck.js'
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

t.test('recordings of LoRAs at other strengths lie beside each other', async (t) => {
  using transformer = tinyModel()
  using quantizer = new MultiScaleQuantizer(tokenizerSchema.parse({ patchNums, vocabSize, latentChannels }), {
    init: new Random(5),
  })
  const layers = layersOf(transformer, ['attention', 'cross-attention', 'feed-forward'])
  const make = (names: readonly string[], seed: number): LoraAdapters => {
    const shapes = new Map(names.map((name) => [name, { rank: 2, scale: 1 }]))
    const adapters = new LoraAdapters(transformer, shapes, { init: new Random(seed) })
    for (const { name, tensor } of adapters.namedTensors())
      if (name.endsWith('lora_B.weight')) tensor.copyFrom(signed(tensor.shape, seed))
    return adapters
  }
  // Each updates layers of its own, so that the same strengths the other way round are another work.
  const half = layers.length >> 1
  using one = make(layers.slice(0, half), 3)
  using other = make(layers.slice(half), 4)
  const choose = ([a, b]: readonly number[]): void => {
    one.strength = a
    other.strength = b
  }
  const text = tinyText(2)
  const options = { transformer, quantizer, text, settings: { cfg: 0, seed: 1 } }
  const choices = [
    [1, 0.4],
    [0.4, 1],
    [0, 0],
  ]
  const expected = []
  for (const choice of choices) {
    choose(choice)
    expected.push(await sample(options))
  }
  t.equal(new Set(expected.map(({ fHat }) => fHat.join())).size, choices.length)
  let calls = 0
  const nextInput = quantizer.nextInput.bind(quantizer)
  quantizer.nextInput = (...given) => {
    calls++
    return nextInput(...given)
  }
  const graphs = new GraphPool()
  const seen: number[] = []
  for (let round = 0; round < 4; round++) {
    calls = 0
    for (const [i, choice] of choices.entries()) {
      choose(choice)
      t.same(await sample({ ...options, graphs }), expected[i], `${choice}, round ${round}`)
    }
    seen.push(calls)
  }
  t.ok(seen[0] > 0 && seen[1] > 0, 'op by op, and recorded')
  t.same(seen.slice(2), [0, 0], 'then from recordings alone')
  graphs.dispose()
  for (const tensor of Object.values(text)) tensor?.dispose()
})

/** A text of so many tokens, all of them real. */
function textOf(batch: number, tokens: number): TextInput {
  return {
    states: signed([batch, tokens, tinySizes.textWidth], tokens),
    pooled: signed([batch, tinySizes.textWidth], tokens + 1),
    mask: null,
  }
}

const disposeText = (text: TextInput): void => {
  for (const tensor of Object.values(text)) tensor?.dispose()
}

/** Runs `work` with a variable of the environment set. */
async function withEnvironment<T>(name: string, value: string, work: () => Promise<T>): Promise<T> {
  const before = process.env[name]
  process.env[name] = value
  try {
    return await work()
  } finally {
    if (before === undefined) delete process.env[name]
    else process.env[name] = before
  }
}

const tinyQuantizer = () =>
  new MultiScaleQuantizer(tokenizerSchema.parse({ patchNums, vocabSize, latentChannels }), { init: new Random(5) })

t.test('prompts of other lengths and settings without a say use the same recording', async (t) => {
  using transformer = tinyModel()
  using quantizer = tinyQuantizer()
  const graphs = new GraphPool()
  const blocks: number[] = []
  const run = async (length: number, settings: SamplingOptions): Promise<void> => {
    const text = textOf(2, length)
    const options = { transformer, quantizer, text, settings }
    const plain = await sample(options)
    t.same(await sample({ ...options, graphs }), plain, `${length} tokens, ${JSON.stringify(settings)}`)
    disposeText(text)
    blocks.push(native.memory(device).liveBlocks)
  }
  for (const length of [5, 7, 16, 3]) await run(length, { cfg: 0, seed: length })
  t.same(new Set(blocks.slice(0, 2)).size, 1, `live blocks: ${blocks.join(', ')}`)
  t.equal(blocks[3], blocks[2])
  for (const topK of [5, 7]) await run(4, { cfg: 0, moreSmooth: true, topK })
  t.equal(blocks[5], blocks[4], 'a soft mix is of all tokens')
  for (const topK of [5, 7]) await run(4, { cfg: 0, topK })
  t.ok(blocks[7] > blocks[6], 'drawn tokens depend on top-k')
  graphs.dispose()
})

t.test('work that the device does not record is done op by op, and that is said once', async (t) => {
  using transformer = tinyModel()
  using quantizer = tinyQuantizer()
  const said = t.capture(console, 'error')
  await withEnvironment('STAR_SIMT_CUBLAS', 'capture', async () => {
    for (const batch of [1, 2]) {
      const text = textOf(batch, 4)
      const graphs = new GraphPool()
      for (const seed of [1, 2, 3]) {
        const options = { transformer, quantizer, text, settings: { cfg: 0, seed } }
        const plain = await sample(options)
        t.same(await sample({ ...options, graphs }), plain)
      }
      graphs.dispose()
      disposeText(text)
    }
  })
  const lines = said()
  t.equal(lines.length, 1)
  t.match(lines[0].args[0], /^generations run op by op, because the device did not record one: matmul: cuBLAS failed/)
})

t.test('all shapes share one room for keys and values, and recordings give way to what needs memory', async (t) => {
  using transformer = tinyModel()
  using quantizer = tinyQuantizer()
  const graphs = new GraphPool()
  const run = async (batch: number, settings: SamplingOptions): Promise<void> => {
    const text = textOf(batch, 4)
    await sample({ transformer, quantizer, text, graphs, settings })
    disposeText(text)
  }
  const live = (): number => native.memory(device).liveBytes
  await run(4, { cfg: 0 }) // makes what the models keep
  graphs.dispose()
  const before = live()
  await run(4, { cfg: 0 })
  const first = live() - before
  native.resetPeakMemory(device)
  await run(4, { cfg: 0, topK: 3 })
  const needed = native.memory(device).peakBytes - before - first
  const second = live() - before - first
  const room = 2 * tinySizes.depth * 4 * transformer.length * tinySizes.width * 4
  t.equal(second, first - room, 'the second shape has no keys and values of its own')
  // One byte too few for another shape beside the recordings.
  const memory = live() + needed - 1 + others
  await withEnvironment('STAR_SIMT_MACHINE', `memory=${memory}`, () => run(4, { cfg: 0, topK: 2 }))
  t.ok(live() < before + first + second, 'they were given back')
  graphs.dispose()
  t.equal(live(), before)
})

/** Bytes of the device beside those of tensors: the workspace of products and a flag. */
const others = 4 * 2 ** 20 + 4
