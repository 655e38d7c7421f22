/** Trainings on three shapes: they resume exactly, and what they make draws each shape. */
import { createHash } from 'node:crypto'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { writePack } from '../../../lib/data/index.js'
import { type LoadOptions, Star } from '../../../lib/index.js'
import { gridOf, gridsOf, positionsIn } from '../../../lib/models/grid.js'
import { openLora, writeMergedModel } from '../../../lib/models/lora/index.js'
import { findModel, loadPart } from '../../../lib/models/source.js'
import { pixelsOf, Tokenizer } from '../../../lib/models/tokenizer/index.js'
import { noGrad, scope, Tensor } from '../../../lib/tensor/index.js'
import { listCheckpoints } from '../../../lib/train/checkpoint/checkpointer.js'
import { readSafetensors } from '../../../lib/weights/index.js'
import { runGroup } from '../../support/task-runner.js'
import { numberedEntry } from '../../support/tiny-images.js'
import { runSteps, tinyLoraRun, tinySamplerRun, tinyTokenizerRun, tinyTransformerRun } from '../../support/tiny-run.js'

const shapes: [number, number][] = [
  [16, 16],
  [20, 12],
  [12, 22],
]
const bucketOf = (id: string): number => Number(id.slice(2)) % 3
const folder = t.testdir({ data: {} })
const packs = [join(folder, 'data', 'shapes')]

type Config = Record<string, unknown>

/** On three shapes, of which an epoch has other numbers of pictures than a batch. */
const shaped = (config: Config, data: object = {}): Config => ({
  ...config,
  data: { ...(config.data as object), packs, buckets: shapes, ...data },
})
const at = (name: string): string => join(folder, name)
const tokenizerAt = (name: string, steps: number): Config => shaped(tinyTokenizerRun(at(name), '', steps))
const transformerAt = (name: string, steps: number): Config =>
  shaped(tinyTransformerRun(at(name), '', at('tokenizer/model'), steps))

/** SHA-256 of each tensor of the newest checkpoint: weights, optimizer, averages. */
function tensorsOf(run: string): Record<string, string> {
  const { tensors } = readSafetensors(listCheckpoints(at(run))[0].file)
  return Object.fromEntries(
    [...tensors].map(([name, { handle }]) => [
      name,
      createHash('sha256').update(new Uint8Array(handle.read())).digest('hex'),
    ]),
  )
}

t.before(async () => {
  const entries = Array.from({ length: 25 }, (_, n) => {
    const [width, height] = shapes[n % 3]
    return numberedEntry(n, { width: width + 2, height: height + 2, split: n < 6 ? 'held-out' : 'train' })
  })
  await writePack(packs[0], entries)
  await runSteps(tokenizerAt('tokenizer', 12))
})

for (const [kind, make] of [
  ['tokenizer', tokenizerAt],
  ['transformer', transformerAt],
] as const)
  t.test(`a ${kind} on three shapes resumes exactly`, async (t) => {
    const whole = await runSteps(make(`${kind}-whole`, 16))
    for (const { ids } of whole) t.equal(new Set(ids.map(bucketOf)).size, 1, 'a batch is of one shape')
    t.equal(new Set(whole.map(({ ids }) => bucketOf(ids[0]))).size, 3)
    const parts = [...(await runSteps(make(`${kind}-parts`, 16), 5)), ...(await runSteps(make(`${kind}-parts`, 16), 4))]
    parts.push(...(await runSteps(make(`${kind}-parts`, 16))))
    t.same(
      parts.map(({ step, loss, ids }) => ({ step, loss, ids })),
      whole.map(({ step, loss, ids }) => ({ step, loss, ids })),
    )
    t.strictSame(tensorsOf(`${kind}-parts`), tensorsOf(`${kind}-whole`), 'all tensors, to the byte')
    const validated = readFileSync(join(at(`${kind}-whole`), 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .at(-1)!
    t.match(JSON.parse(validated), kind === 'tokenizer' ? { 'val/images': 6 } : { 'val/Lm': Number })
  })

t.test('the model draws the shapes it was trained on, without a word', async (t) => {
  const model = at('transformer-whole/model')
  t.same(JSON.parse(readFileSync(join(model, 'model.json'), 'utf8')).shapes, shapes)
  t.same(JSON.parse(readFileSync(join(at('tokenizer'), 'model', 'model.json'), 'utf8')).shapes, shapes)
  const notices: string[] = []
  await using star = await Star.load(model, {
    device: 'cpu',
    thread: 'main',
    onNotice: (line, about) => void (about === 'size' && notices.push(line)),
  })
  for (const [width, height] of shapes) {
    const { images } = await star.generate('picture 3', { size: { width, height } })
    t.match(images[0], { width, height })
  }
  t.same(notices, [])
  await star.generate('picture 3', { size: { width: 18, height: 14 } })
  t.match(notices, [/was trained on 16×16, 20×12, 12×22, not on 18×14/])
})

t.test('several processes train on the shapes as one does', async (t) => {
  for (const [kind, make] of [
    ['tokenizer', tokenizerAt],
    ['transformer', transformerAt],
  ] as const) {
    const config = (name: string): Config => {
      const run = make(`${kind}-${name}`, 8)
      return { ...run, model: { ...(run.model as object), ...(kind === 'tokenizer' && { vocabSize: 256 }) } }
    }
    const [whole] = await runGroup({ config: config('one'), ranks: 1, steps: 6 }, t)
    const results = await runGroup({ config: config('two'), ranks: 2, steps: 6 }, t)
    t.strictSame(
      whole.ids.map((_, i) => results.flatMap(({ ids }) => ids[i])),
      whole.ids,
    )
    for (const { weights, state } of results) {
      t.strictSame(weights, results[0].weights, 'the same on all, bit for bit')
      t.strictSame(state, whole.state)
    }
    for (const [tensor, expected] of Object.entries(whole.weights)) {
      const error = Math.max(...results[0].weights[tensor].map((v, i) => Math.abs(v - expected[i])))
      t.ok(error <= 1e-5 * Math.max(1, ...expected.map(Math.abs)), `${kind} ${tensor} is off by ${error}`)
    }
  }
})

t.test('with augmentation, token drop, progressive scales, weights of scales and self-correction', async (t) => {
  const config = (name: string): Config => ({
    ...shaped(transformerAt(name, 12), { flip: 0, augment: { variants: 3 } }),
    tokenDrop: { fromScale: 2, keep: 40 },
    progressive: { share: 0.5, firstScale: 2, warmupSteps: 2 },
    scaleWeights: 'side',
    selfCorrection: 0.3,
  })
  const losses = async (name: string, ...stop: number[]): Promise<number[]> =>
    (await runSteps(config(name), ...stop)).map(({ loss }) => loss)
  const whole = await losses('changed-whole')
  t.ok(whole.every(Number.isFinite))
  t.same([...(await losses('changed-parts', 5)), ...(await losses('changed-parts'))], whole)
})

t.test('a sampler head and a LoRA on three shapes', async (t) => {
  const base = at('transformer-whole/model')
  const sampler = await runSteps(shaped(tinySamplerRun(at('sampler'), '', base, 8)))
  t.ok(sampler.every(({ loss }) => Number.isFinite(loss)))
  t.same(JSON.parse(readFileSync(join(at('sampler'), 'model', 'model.json'), 'utf8')).shapes, shapes)
  await using star = await Star.load(at('sampler/model'), { device: 'cpu', thread: 'main' })
  t.match((await star.generate('picture 3', { size: { width: 12, height: 22 } })).images[0], { width: 12, height: 22 })
  const lora = shaped(tinyLoraRun(at('lora'), '', base, 8))
  t.ok((await runSteps(lora)).every(({ loss }) => Number.isFinite(loss)))
})

t.test('a model of squares knows the shapes of its LoRAs', async (t) => {
  const squares = at('squares')
  cpSync(at('transformer-whole/model'), squares, { recursive: true })
  const file = join(squares, 'model.json')
  const { shapes: _, ...config } = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify(config))
  const learnt = [shapes[1], shapes[2]]
  await runSteps(shaped(tinyLoraRun(at('lora-shapes'), '', squares, 2), { buckets: learnt }))
  const path = at('lora-shapes/model')
  t.same(openLora(path).pictures, learnt)
  const told = async (options: LoadOptions): Promise<{ sizes: unknown; notices: string[] }> => {
    const notices: string[] = []
    const onNotice = (line: string): void => void notices.push(line)
    await using star = await Star.load(squares, { device: 'cpu', thread: 'main', onNotice, ...options })
    await star.generate('picture 3', { size: { width: 12, height: 22 } })
    return { sizes: star.info().shapes.map(({ width, height }) => [width, height]), notices }
  }
  t.match(await told({}), { sizes: [[16, 16]], notices: [/was trained on 16×16, not on 12×22/] })
  t.same(await told({ lora: [{ path }] }), { sizes: shapes, notices: [] })
  t.same(await told({ lora: [{ path }], loraMode: 'merge' }), { sizes: shapes, notices: [] })
  const source = findModel(squares)
  writeMergedModel(at('merged'), source, [{ lora: openLora(path), strength: 1 }], { name: 'merged' })
  t.same(findModel(at('merged')).shapes, shapes)
})

t.test('a LoRA with pictures of the model’s own, which have the shape of each batch', async (t) => {
  const base = at('transformer-whole/model')
  const prior = { prompts: ['picture 3', 'picture 4'], pictures: 3 }
  const config = (name: string): Config => ({ ...shaped(tinyLoraRun(at(name), '', base, 8)), prior })
  const whole = await runSteps(config('prior-whole'))
  t.equal(new Set(whole.map(({ ids }) => bucketOf(ids[0]))).size, 3)
  t.ok(whole.every(({ metrics }) => metrics.Lprior > 0))
  const told = (steps: typeof whole) => steps.map(({ step, loss, ids }) => ({ step, loss, ids }))
  const parts = [...(await runSteps(config('prior-parts'), 3)), ...(await runSteps(config('prior-parts')))]
  t.same(told(parts), told(whole))
  t.strictSame(tensorsOf('prior-parts'), tensorsOf('prior-whole'), 'all tensors, to the byte')

  // They are what the model draws in each shape.
  const tokens = readSafetensors(join(at('prior-whole'), 'prior.safetensors')).tensors.get('tokens')!
  const source = findModel(base)
  using tokenizer = new Tokenizer(source.tokenizer, { init: null, device: 'cpu' })
  loadPart(source, 'tokenizer', tokenizer)
  const grids = shapes.map(([width, height]) => gridOf({ width, height }, 2))
  const maps = grids.map((grid) => gridsOf(source.tokenizer.patchNums, grid).map(positionsIn))
  const row = maps.flat().reduce((sum, size) => sum + size, 0)
  t.same(tokens.shape, [3, row])
  const all = tokens.ints()
  await using star = await Star.load(base, { device: 'cpu', thread: 'main', dtype: 'f32' })
  for (const n of [0, 1, 2]) {
    let begin = n * row
    for (const [i, [width, height]] of shapes.entries()) {
      const pixels = noGrad(() =>
        scope(() => {
          const indices = maps[i].map((size) => {
            const own = all.subarray(begin, begin + size)
            begin += size
            return Tensor.from(own, [1, size])
          })
          const fHat = tokenizer.quantizer.fHatOf(indices, grids[i]).at(-1)!
          return pixelsOf(tokenizer.decode(fHat))[0]
        }),
      )
      const drawing = { seed: 3 + n, size: { width, height } }
      t.same(pixels, (await star.generate(prior.prompts[n % 2], drawing)).images[0].data, `${width}×${height}, ${n}`)
    }
  }

  const group = (name: string, ranks: number) => runGroup({ config: config(name), ranks, steps: 6 }, t)
  const [one] = await group('prior-one', 1)
  const two = await group('prior-two', 2)
  for (const { weights, state } of two) {
    t.strictSame(weights, two[0].weights, 'the same on all, bit for bit')
    t.strictSame(state, one.state)
  }
  for (const [name, expected] of Object.entries(one.weights)) {
    const error = Math.max(...two[0].weights[name].map((v, i) => Math.abs(v - expected[i])))
    t.ok(error <= 1e-5 * Math.max(1, ...expected.map(Math.abs)), `${name} is off by ${error}`)
  }
})

t.test('shapes that cannot be trained on are refused in a line', async (t) => {
  const cases: [object, RegExp][] = [
    [
      {
        buckets: [
          [16, 16],
          [21, 12],
        ],
      },
      /^"data.buckets" names 21×12, but sides of this model's pictures are multiples of 2 pixels: take 22×12$/,
    ],
    [
      { buckets: [[34, 8]] },
      /^"data.buckets" names 34×8, too far from the square of "data.resolution": sides are from half of 16 to twice of it, 8 to 32 pixels$/,
    ],
    [
      { buckets: [...shapes, [32, 8]] },
      /^"data.buckets": no picture of .*shapes goes to 32×8 \(16×16: \d, 20×12: \d, 12×22: \d\): leave it out/,
    ],
    [{ buckets: [] }, /data.buckets/],
    [{ buckets: [[16]] }, /data.buckets/],
  ]
  for (const make of [tokenizerAt, transformerAt])
    for (const [i, [data, message]] of cases.entries()) {
      const config = make(`wrong-${i}`, 2)
      await t.rejects(runSteps({ ...config, data: { ...(config.data as object), ...data } }), {
        code: 'ERR_CONFIG',
        message,
      })
    }
})
