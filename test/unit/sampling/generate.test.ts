import t from 'tap'
import { MultiScaleQuantizer, tokenizerSchema } from '../../../lib/models/tokenizer/index.js'
import { native } from '../../../lib/native/index.js'
import {
  type GenerateOptions,
  generate,
  guidanceStrength,
  guide,
  type ScaleEvent,
  samplingSettings,
  smoothing,
  tokenFilter,
} from '../../../lib/sampling/index.js'
import { affine, Random, scope, slice, Tensor } from '../../../lib/tensor/index.js'
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
  const text = tinyText(2)
  const empty = tinyText(1, 51)
  try {
    return await fn({ transformer, quantizer, text, empty })
  } finally {
    for (const tensor of [...Object.values(text), ...Object.values(empty)]) tensor?.dispose()
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

t.test('events tell the scale, show tokens and decode when asked', async (t) => {
  await withModels(async (options) => {
    const seen: number[] = []
    let decoded = 0
    const decode = (fHat: Tensor): Tensor => {
      decoded++
      return affine(fHat, null, 2, 0, 0)
    }
    await sample({
      ...options,
      decode,
      onScale: async ({ scaleIndex, scales, fHat, tokens, preview }) => {
        t.equal(scales, patchNums.length)
        t.strictSame(tokens?.shape, [2, patchNums[scaleIndex] ** 2])
        t.ok(tokens?.ints().every((v) => v >= 0 && v < vocabSize))
        if (scaleIndex === 1) {
          using image = preview()
          t.strictSame(
            image.floats(),
            fHat.floats().map((v) => 2 * v),
          )
        }
        seen.push(scaleIndex)
      },
    })
    t.strictSame(seen, [0, 1, 2])
    t.equal(decoded, 1, 'previews are decoded on demand')
    await t.rejects(sample({ ...options, onScale: ({ preview }) => preview().dispose() }), {
      code: 'ERR_ARGUMENT',
      message: /without a decoder/,
    })
  })
})

t.test('several images of one prompt take the prompt’s rows', async (t) => {
  await withModels(async (options) => {
    const { text, empty } = options
    const fixed = {
      draw: (rows: number) => Tensor.from(new Float32Array(rows).fill(0.5), [rows]),
      order: () => Tensor.empty([0]),
      gumbel: () => Tensor.empty([0]),
    }
    const four = await sample({ ...options, prompts: [1, 0, 1, 1], noise: fixed })
    const two = await sample({ ...options, text, empty, noise: fixed })
    const size = two.length / 2
    t.strictSame(four.subarray(0, size), two.subarray(size))
    t.strictSame(four.subarray(size, 2 * size), two.subarray(0, size))
    t.strictSame(four.subarray(3 * size), two.subarray(size))
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
    await t.rejects(generate({ ...options, empty: undefined }), {
      code: 'ERR_ARGUMENT',
      message: /needs the empty prompt/,
    })
    for (const prompts of [[2], [-1], [0.5], []])
      await t.rejects(generate({ ...options, prompts }), {
        code: 'ERR_ARGUMENT',
        message: /expected at least one index of the 2 prompts/,
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
