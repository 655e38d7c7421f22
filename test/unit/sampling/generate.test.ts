import t from 'tap'
import { MultiScaleQuantizer, tokenizerSchema } from '../../../lib/models/tokenizer/index.js'
import { native } from '../../../lib/native/index.js'
import {
  type GenerateOptions,
  generate,
  guidanceStrength,
  guide,
  type ScaleConditions,
  type ScaleEvent,
  samplingSettings,
  smoothing,
  tokenFilter,
} from '../../../lib/sampling/index.js'
import { Random, scope, slice, Tensor } from '../../../lib/tensor/index.js'
import { tinyModel, tinySizes, tinyText } from '../../support/tiny-star.js'

const { patchNums, vocabSize, latentChannels } = tinySizes
const side = patchNums[patchNums.length - 1]

function tinyQuantizer(): MultiScaleQuantizer {
  return new MultiScaleQuantizer(tokenizerSchema.parse({ patchNums, vocabSize, latentChannels }), {
    init: new Random(5),
  })
}

/** Runs `fn` with models and texts that are freed afterwards. */
async function withModels<T>(fn: (options: GenerateOptions) => Promise<T>): Promise<T> {
  using transformer = tinyModel()
  using quantizer = tinyQuantizer()
  const text = tinyText(3)
  try {
    return await fn({ transformer, quantizer, text, empty: 2 })
  } finally {
    for (const tensor of Object.values(text)) tensor?.dispose()
  }
}

async function sample(options: GenerateOptions): Promise<Float32Array> {
  using fHat = await generate(options)
  t.strictSame(fHat.shape.slice(1), [side, side, latentChannels])
  return fHat.floats()
}

t.test('the seed decides the image', async (t) => {
  await withModels(async (options) => {
    const first = await sample({ ...options, settings: { seed: 1 } })
    t.strictSame(await sample({ ...options, settings: { seed: 1 } }), first)
    t.notSame(await sample({ ...options, settings: { seed: 2 } }), first)
    t.notSame(await sample({ ...options, settings: { seed: 1, cfg: 0 } }), first)
    t.ok((await sample({ ...options, settings: { moreSmooth: true } })).every(Number.isFinite))
  })
})

t.test('events tell the scale and show tokens and f̂', async (t) => {
  await withModels(async (options) => {
    const seen: number[] = []
    let last: number[] = []
    const result = await sample({
      ...options,
      onScale: async ({ scaleIndex, scales, fHat, tokens }) => {
        t.equal(scales, patchNums.length)
        t.strictSame(tokens?.shape, [2, patchNums[scaleIndex] ** 2])
        t.ok(tokens?.ints().every((v) => v >= 0 && v < vocabSize))
        last = [...fHat.floats()]
        seen.push(scaleIndex)
      },
    })
    t.strictSame(seen, [0, 1, 2])
    t.strictSame(last, [...result])
  })
})

t.test('several images of one prompt take the prompt’s rows', async (t) => {
  await withModels(async (options) => {
    const fixed = {
      draw: (rows: number) => Tensor.from(new Float32Array(rows).fill(0.5), [rows]),
      order: () => Tensor.empty([0]),
      gumbel: () => Tensor.empty([0]),
    }
    const four = await sample({ ...options, prompts: [1, 0, 1, 1], noise: fixed })
    const two = await sample({ ...options, noise: fixed })
    const size = two.length / 2
    t.strictSame(four.subarray(0, size), two.subarray(size))
    t.strictSame(four.subarray(size, 2 * size), two.subarray(0, size))
    t.strictSame(four.subarray(3 * size), two.subarray(size))
  })
})

/** Conditions of scale k: token (5·i + k) mod V at position i of each image, as far as `share` says. */
function given(k: number, images: number, share: (i: number) => number): ScaleConditions {
  const n = patchNums[k] ** 2
  const count = images * n
  const values = Int32Array.from({ length: count }, (_, i) => ((i % n) * 5 + k) % vocabSize)
  return {
    tokens: Tensor.from(values, [images, n]),
    known: Tensor.from(
      Float32Array.from({ length: count }, (_, i) => share(i % n)),
      [images, n],
    ),
  }
}

t.test('known tokens of a scale are kept, the others are drawn', async (t) => {
  await withModels(async (options) => {
    const quantizer = options.quantizer as MultiScaleQuantizer
    const settings = { seed: 4, cfg: 2 }
    const plain = await sample({ ...options, settings })
    const nothing = patchNums.map((_, k) => given(k, 2, () => 0))
    t.strictSame(await sample({ ...options, settings, conditions: nothing }), plain, 'a share of 0 changes nothing')

    const all = patchNums.map((_, k) => given(k, 2, () => 1))
    const known = all.map(({ tokens }) => tokens)
    const fHatOf = (tokens: Tensor[]) => scope(() => quantizer.fHatOf(tokens).at(-1)!.floats())
    for (const version of ['1024', 'new', 'old'] as const)
      t.strictSame(await sample({ ...options, settings: { ...settings, version }, conditions: all }), fHatOf(known))

    // Scale 0 whole, of scale 1 every other position; what the event names is what was drawn for the rest.
    const half = given(1, 2, (i) => i % 2)
    const drawn: Int32Array[] = []
    const onScale = ({ tokens }: ScaleEvent): void => void drawn.push(tokens!.ints())
    const mixed = await sample({ ...options, settings, conditions: [all[0], half], onScale })
    const expected = scope(() => {
      const values = half.tokens.ints()
      const second = drawn[1].map((token, i) => ((i % 4) % 2 === 1 ? values[i] : token))
      return fHatOf([all[0].tokens, Tensor.from(second, [2, 4]), Tensor.from(drawn[2], [2, 9])])
    })
    t.strictSame(mixed, expected)
    t.notSame(drawn[1], half.tokens.ints())

    // A soft edge mixes code vectors.
    const soft = [null, null, given(2, 2, () => 0.25)]
    const kept: Int32Array[] = []
    const mix = await sample({
      ...options,
      settings,
      conditions: soft,
      onScale: ({ tokens }) => void kept.push(tokens!.ints()),
    })
    const byHand = scope(() => {
      const [first, second, third] = kept.map((ids, k) => Tensor.from(ids, [2, patchNums[k] ** 2]))
      const codes = (ids: Tensor) => quantizer.embedIndices(ids).floats()
      const [own, other] = [codes(third), codes(soft[2]!.tokens)]
      const vectors = Tensor.from(
        own.map((v, i) => 0.75 * v + 0.25 * other[i]),
        [2, 9, latentChannels],
      )
      return quantizer.nextInput(2, quantizer.fHatOf([first, second])[1], vectors).fHat.floats()
    })
    t.ok(mix.every((v, i) => Math.abs(v - byHand[i]) < 1e-6))

    for (const { tokens, known } of [...nothing, ...all, half, soft[2]!]) for (const x of [tokens, known]) x.dispose()
  })
})

t.test('conditions that do not fit are refused', async (t) => {
  await withModels(async (options) => {
    const wide = given(1, 2, () => 1)
    const refused = (conditions: GenerateOptions['conditions'], error: { code: string; message: RegExp }) =>
      t.rejects(generate({ ...options, conditions }), error)
    await refused([wide], {
      code: 'ERR_SHAPE',
      message: /conditions\[0\]\.tokens is i32 \(2, 4\), expected i32 \(2, 1\)/,
    })
    await refused([null, { tokens: wide.tokens, known: wide.tokens }], {
      code: 'ERR_SHAPE',
      message: /conditions\[1\]\.known is i32/,
    })
    await refused([null, null, null, null], { code: 'ERR_ARGUMENT', message: /conditions of 4 scales .* at most 3/ })
    for (const x of [wide.tokens, wide.known]) x.dispose()
  })
})

t.test('the event loop turns between scales', async (t) => {
  await withModels(async (options) => {
    let turns = 0
    const timer = setInterval(() => turns++, 0)
    const count = (): void => {
      turns++
      if (running) setImmediate(count)
    }
    let running = true
    setImmediate(count)
    await sample(options)
    running = false
    clearInterval(timer)
    t.ok(turns >= patchNums.length - 1)
  })
})

t.test('an abort stops between scales and leaves no memory behind', async (t) => {
  await withModels(async (options) => {
    const before = native.memory('cpu').liveBytes
    const controller = new AbortController()
    const onScale = ({ scaleIndex }: ScaleEvent): void => {
      if (scaleIndex === 1) controller.abort('enough')
    }
    const run = generate({ ...options, signal: controller.signal, onScale })
    await t.rejects(run, { code: 'ERR_ABORTED', message: /before scale 3 of 3/, cause: 'enough' })
    await t.rejects(generate({ ...options, onScale: () => Promise.reject(new Error('mine')) }), { message: 'mine' })
    t.equal(native.memory('cpu').liveBytes, before)
  })
})

t.test('a generation leaves no memory behind', async (t) => {
  await withModels(async (options) => {
    const before = native.memory('cpu').liveBytes
    for (const settings of [{}, { cfg: 0 }, { moreSmooth: true }, { version: 'old' as const }])
      await sample({ ...options, settings })
    t.equal(native.memory('cpu').liveBytes, before)
  })
})

t.test('what does not fit together is refused', async (t) => {
  await withModels(async (options) => {
    for (const empty of [undefined, [2]])
      await t.rejects(generate({ ...options, prompts: [0, 1], empty }), {
        code: 'ERR_ARGUMENT',
        message: /needs the row of the empty prompt/,
      })
    await t.rejects(generate({ ...options, empty: 3 }), { code: 'ERR_ARGUMENT', message: /empty is \[3, 3, 3\]/ })
    for (const prompts of [[3], [-1], [0.5], []])
      await t.rejects(generate({ ...options, prompts }), {
        code: 'ERR_ARGUMENT',
        message: /expected at least one row of the 3 texts/,
      })
    await t.rejects(generate({ ...options, settings: { topP: 2 } }), { code: 'ERR_CONFIG', message: /topP/ })
    using other = new MultiScaleQuantizer(tokenizerSchema.parse({ patchNums, vocabSize: 12, latentChannels }), {
      init: null,
    })
    await t.rejects(generate({ ...options, quantizer: other }), {
      code: 'ERR_CONFIG',
      message: /the tokenizer 3 and 12 of 3/,
    })
  })
})

t.test('guidance grows with the scale', async (t) => {
  t.equal(guidanceStrength(4, 0, 10), 0)
  t.equal(guidanceStrength(4, 9, 10), 4)
  t.equal(guidanceStrength(4, 0, 1), 0)
  scope(() => {
    const logits = Tensor.from([1, 2, 3, 5], [2, 2])
    t.strictSame([...guide(logits, 2).floats()], [-3, -4])
    t.strictSame([...guide(logits, 0).floats()], [...slice(logits, 0, 0, 1).floats()])
  })
})

t.test('filters and smoothing follow the version and the scale', async (t) => {
  const settings = samplingSettings({ version: 'old', topK: 500, topP: 0.1 })
  t.strictSame(
    [8, 9, 11, 12].map((k) => tokenFilter(settings, k).topK),
    [500, 300, 300, 100],
  )
  t.equal(tokenFilter(settings, 0).topP, 0.8)
  t.strictSame(tokenFilter(samplingSettings(), 12), { topK: 600, topP: 0.8 })
  t.strictSame(smoothing(0), { factor: 1, temperature: 0.27 })
  t.equal(smoothing(1).factor, 2)
  t.ok(Math.abs(smoothing(1).temperature - 0.0135) < 1e-12)
})
