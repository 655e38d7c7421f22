/** LoRAs from files: loaded with a model, merged, and what is refused. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type LoadOptions, Star } from '../../lib/index.js'
import { openLora, writeMergedModel } from '../../lib/models/lora/index.js'
import { findModel } from '../../lib/models/source.js'
import { loadSimt } from '../../lib/native/devices.js'
import { native } from '../../lib/native/index.js'
import { scope, Tensor } from '../../lib/tensor/index.js'
import { readSafetensors, writeSafetensors } from '../../lib/weights/index.js'
import { tinyLora, writeTinyLora } from '../support/tiny-lora.js'
import { writeTinyModel } from '../support/tiny-model.js'

const folder = t.testdir()
const at = (...names: string[]): string => join(folder, ...names)
writeTinyModel(at('model'))
writeTinyModel(at('deep'), 'deep', { depth: 3 })
writeTinyModel(at('wide'), 'wide', { width: 64 })
writeTinyLora(at('style'), at('model'))
writeTinyLora(at('other'), at('model'), 50)

async function draw(model: string, options: LoadOptions = {}) {
  await using star = await Star.load(model, { device: 'cpu', ...options })
  const { images } = await star.generate(['a cat', 'a dog'], { seed: 5, count: 2 })
  return { images, info: star.info() }
}
const pixels = ({ images }: Awaited<ReturnType<typeof draw>>): Uint8Array[] => images.map(({ data }) => data)
/** Part of the bytes that differ by more than one. */
const share = (a: Uint8Array[], b: Uint8Array[]): number => {
  const far = a.map((one, i) => one.filter((v, j) => Math.abs(v - b[i][j]) > 1).length)
  return far.reduce((sum, n) => sum + n, 0) / (a.length * a[0].length)
}

t.test('a LoRA is what PEFT reads: names, shapes, configuration', async (t) => {
  const config = JSON.parse(readFileSync(at('style', 'adapter_config.json'), 'utf8'))
  t.match(config, {
    peft_type: 'LORA',
    base_model_name_or_path: at('model'),
    r: tinyLora.rank,
    lora_alpha: tinyLora.alpha,
    bias: 'none',
    target_modules: [
      'attn.mat_qkv',
      'attn.proj',
      'cross_attn.mat_q',
      'cross_attn.mat_kv',
      'cross_attn.proj',
      'ffn.fc1',
      'ffn.fc2',
    ],
  })
  scope(() => {
    const { tensors, metadata } = readSafetensors(at('style', 'adapter_model.safetensors'))
    t.equal(tensors.size, 28)
    const shape = (name: string): readonly number[] | undefined => tensors.get(`base_model.model.${name}.weight`)?.shape
    t.same(shape('blocks.1.cross_attn.mat_kv.lora_A'), [2, 384])
    t.same(shape('blocks.1.cross_attn.mat_kv.lora_B'), [64, 2])
    t.equal(metadata.format, 'pt')
  })
  t.match(openLora(at('style')), { name: 'style', alpha: 3, base: { name: at('model'), hash: /^[0-9a-f]{64}$/ } })
})

t.test('strength 0 is the base, to the byte; others draw other pictures and say with what', async (t) => {
  const base = await draw(at('model'))
  const without = await draw(at('model'), { lora: [{ path: at('style'), strength: 0 }] })
  for (const [i, image] of base.images.entries())
    t.strictSame(await without.images[i].toBuffer(), await image.toBuffer(), 'the whole file')
  const full = await draw(at('model'), { lora: [{ path: at('style') }] })
  t.ok(share(pixels(full), pixels(base)) > 0.05)
  t.not(full.info.weights, base.info.weights)
  t.match(full.info.lora, [{ name: 'style', path: at('style'), strength: 1, hash: /^[0-9a-f]{64}$/ }])
  t.match(full.images[0].settings, { lora: [{ path: at('style'), strength: 1 }], loraMode: 'apply' })
  const half = await draw(at('model'), { lora: [{ path: at('style'), strength: 0.5 }] })
  t.not(half.info.weights, full.info.weights)
  t.notSame(pixels(half), pixels(full))
})

t.test('merged, in memory or in a folder, equals applied within rounding; the order does not matter', async (t) => {
  const lora = [
    { path: at('style'), strength: 0.8 },
    { path: at('other', 'adapter_model.safetensors'), strength: -0.4 },
  ]
  const dtype = 'f32' // 16 bits round merged weights
  const applied = await draw(at('model'), { lora, dtype })
  const merged = await draw(at('model'), { lora: lora.toReversed(), loraMode: 'merge', dtype })
  // A token whose probability lies at the edge may be drawn differently.
  t.ok(share(pixels(applied), pixels(merged)) < 0.02)
  const loras = lora.map(({ path, strength }) => ({ lora: openLora(path), strength }))
  writeMergedModel(at('merged'), findModel(at('model')), loras, { name: 'merged' })
  t.ok(share(pixels(await draw(at('merged'), { dtype })), pixels(applied)) < 0.02)
  writeMergedModel(at('half'), findModel(at('model')), loras, { name: 'half', dtype: 'f16' })
  scope(() => {
    const weights = (model: string) => readSafetensors(at(model, 'transformer.safetensors')).tensors
    const name = 'blocks.0.attn.mat_qkv.weight'
    t.equal(weights('half').get(name)?.dtype, 'f16')
    t.equal(weights('merged').get(name)?.dtype, 'f32')
    // W + Σ strength·(α/r)·B·A, in plain numbers.
    const expected = Float64Array.from(weights('model').get(name)!.floats())
    for (const { path, strength } of lora) {
      const { tensors } = readSafetensors(
        path.endsWith('.safetensors') ? path : join(path, 'adapter_model.safetensors'),
      )
      const [a, b] = ['A', 'B'].map((x) =>
        tensors.get(`base_model.model.blocks.0.attn.mat_qkv.lora_${x}.weight`)!.floats(),
      )
      for (let o = 0; o < 96; o++)
        for (let i = 0; i < 32; i++)
          for (let k = 0; k < 2; k++) expected[o * 32 + i] += strength * 1.5 * b[o * 2 + k] * a[k * 32 + i]
    }
    const given = weights('merged').get(name)!.floats()
    t.ok(given.every((v, i) => Math.abs(v - expected[i]) < 1e-6))
  })
})

t.test('the path of a LoRA stands for its model with it', async (t) => {
  const alone = await draw(at('style'))
  t.strictSame(pixels(alone), pixels(await draw(at('model'), { lora: [{ path: at('style') }] })))
  t.equal(alone.info.name, 'tiny')
})

t.test('16 bits, in a thread of its own or in this one, and no memory is left', async (t) => {
  for (const loraMode of ['apply', 'merge'] as const) {
    const before = native.memory('cpu').liveBytes
    const lora = [{ path: at('style') }]
    const here = await draw(at('model'), { lora, loraMode, dtype: 'bf16', thread: 'main' })
    t.equal(native.memory('cpu').liveBytes, before)
    const there = await draw(at('model'), { lora, loraMode, dtype: 'bf16' })
    t.strictSame(pixels(here), pixels(there))
    t.equal(here.info.loraMode, loraMode)
  }
})

t.test('a LoRA trained on other weights of the same shapes is told of', async (t) => {
  writeTinyModel(at('twin'), 'twin')
  writeTinyLora(at('of-wide'), at('wide'))
  const notices: string[] = []
  const onNotice = (line: string): void => void notices.push(line)
  // The same weights under another name, and a LoRA that does not say its model.
  await draw(at('twin'), { lora: [{ path: at('style') }], onNotice })
  t.same(notices, [])
  mkdirSync(at('changed'))
  scope(() => {
    const { tensors } = readSafetensors(at('model', 'transformer.safetensors'))
    for (const name of ['model.json', 'tokenizer.safetensors']) copyFileSync(at('model', name), at('changed', name))
    const head = tensors.get('head_logits.bias')!
    const own = [...tensors].map(([name, tensor]): [string, Tensor] =>
      name === 'head_logits.bias'
        ? [
            name,
            Tensor.from(
              head.floats().map((v) => v + 1),
              head.shape,
            ),
          ]
        : [name, tensor],
    )
    writeSafetensors(at('changed', 'transformer.safetensors'), own)
  })
  await draw(at('changed'), { lora: [{ path: at('style') }], onNotice })
  t.equal(notices.length, 1)
  t.match(notices[0], /style.* was trained on .*model \(weights [0-9a-f]{12}\), not on the weights of tiny/)
})

t.test('what is no LoRA, or one of another model, is refused in one line', async (t) => {
  const refuse = async (lora: unknown, expected: { code: string; message: RegExp }, model = at('model')) => {
    const error = await Star.load(model, { lora: lora as LoadOptions['lora'] }).then(
      () => null,
      (error: Error) => error,
    )
    t.match(error, expected)
    t.notMatch(error?.message, /\n/)
  }
  await refuse(
    [{ path: at('style') }],
    {
      code: 'ERR_SHAPE',
      message:
        /LoRA of another model than wide, of .*model: 14 of its 14 matrices do not fit \(blocks\.0\.attn\.mat_qkv is \(96, 32\) there and \(192, 64\) here\)/,
    },
    at('wide'),
  )
  writeTinyLora(at('of-deep'), at('deep'))
  await refuse([{ path: at('of-deep') }], {
    code: 'ERR_SHAPE',
    message: /another model than tiny.*: 7 of its 21 matrices do not fit \("blocks\.2\.attn\.mat_qkv" is not there\)/,
  })
  await refuse([{ path: at('model') }], { code: 'ERR_FILE', message: /the folder .*model holds no LoRA/ })
  await refuse([{ path: at('model', 'transformer.safetensors') }], {
    code: 'ERR_FILE',
    message: /no LoRA in PEFT's layout: it holds/,
  })
  await refuse([{ path: at('nowhere') }], {
    code: 'ERR_FILE',
    message: /nowhere cannot be read: there is no such file/,
  })
  await refuse([{ path: at('style'), strength: Number.NaN }], { code: 'ERR_CONFIG', message: /strength/ })
  await refuse([{ path: at('style'), strength: '1' }], { code: 'ERR_CONFIG', message: /strength/ })
  await refuse([{ path: at('style'), weight: 1 }], { code: 'ERR_CONFIG', message: /unknown key "lora\[0\]\.weight"/ })
  await t.rejects(async () => findModel(at('style')), {
    code: 'ERR_FILE',
    message: /is a LoRA, which draws with the model/,
  })

  const changed = (name: string, change: (tensors: Map<string, Tensor>, config: Record<string, unknown>) => void) => {
    mkdirSync(at(name))
    scope(() => {
      const { tensors, metadata } = readSafetensors(at('style', 'adapter_model.safetensors'))
      const config = JSON.parse(readFileSync(at('style', 'adapter_config.json'), 'utf8'))
      change(tensors, config)
      writeSafetensors(at(name, 'adapter_model.safetensors'), tensors, metadata)
      writeFileSync(at(name, 'adapter_config.json'), JSON.stringify(config))
    })
    return [{ path: at(name) }]
  }
  const first = 'base_model.model.blocks.0.attn.proj.lora_A.weight'
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY])
    await refuse(
      changed(`with-${value}`, (tensors) => tensors.set(first, Tensor.from([...Array(63).fill(0), value], [2, 32]))),
      { code: 'ERR_FILE', message: /blocks\.0\.attn\.proj\.lora_A\.weight holds values that are no numbers/ },
    )
  await refuse(
    changed('half-missing', (tensors) => tensors.delete(first)),
    { code: 'ERR_FILE', message: /matrices of "blocks\.0\.attn\.proj" are \(missing\) and \(32, 2\)/ },
  )
  await refuse(
    changed('ranks', (tensors) => tensors.set(first, Tensor.from(Array(96).fill(0), [3, 32]))),
    { code: 'ERR_FILE', message: /are \(3, 32\) and \(32, 2\), expected \(r, inputs\) and \(outputs, r\)/ },
  )
  await refuse(
    changed('dora', (_, config) => Object.assign(config, { use_dora: true })),
    { code: 'ERR_CONFIG', message: /use_dora.*DoRA is not read/ },
  )
  await refuse(
    changed('loha', (_, config) => Object.assign(config, { peft_type: 'LOHA' })),
    { code: 'ERR_CONFIG', message: /peft_type.*other kinds of adapters are not read/ },
  )
  mkdirSync(at('sizes'))
  copyFileSync(at('style', 'adapter_config.json'), at('sizes', 'adapter_config.json'))
  scope(() => {
    const { tensors, metadata } = readSafetensors(at('style', 'adapter_model.safetensors'))
    writeSafetensors(at('sizes', 'adapter_model.safetensors'), tensors, { ...metadata, pictures: '[[16, 0]]' })
  })
  await refuse([{ path: at('sizes') }], { code: 'ERR_CONFIG', message: /"pictures" in .*adapter_model\.safetensors/ })
  copyFileSync(at('style', 'adapter_model.safetensors'), at('alone.safetensors'))
  t.equal(openLora(at('alone.safetensors')).alpha, 3, 'a file by itself says its alpha')
  scope(() => writeSafetensors(at('bare.safetensors'), readSafetensors(at('alone.safetensors')).tensors))
  await refuse([{ path: at('bare.safetensors') }], { code: 'ERR_FILE', message: /does not say its alpha/ })
})

t.test('strengths that a call chooses are those of its recordings too', async (t) => {
  const device = loadSimt()
  const [style, other] = ['style', 'other'].map((name) => ({ path: at(name), strength: 0.7 }))
  const load = (lora: LoadOptions['lora']): Promise<Star> =>
    Star.load(at('model'), { device, thread: 'main', dtype: 'f32', decoderDtype: 'f32', lora })
  const drawn = async (star: Star, lora?: LoadOptions['lora']): Promise<Uint8Array> =>
    (await star.generate('a cat', { seed: 5, lora })).images[0].data
  await using star = await load([style, other])
  // The second drawing of a shape records its scales, and the third launches them.
  const many: Uint8Array[] = []
  for (let i = 0; i < 3; i++) many.push(await drawn(star, [style]))
  const changed = await drawn(star, [other])
  for (const [given, lora] of [
    [many[2], style],
    [changed, other],
  ] as const) {
    await using alone = await load([lora])
    t.same(given, await drawn(alone))
  }
  t.notSame(changed, many[2])
})

t.test('attention has the LoRAs that its call names, whatever was drawn before', async (t) => {
  await using base = await Star.load(at('model'), { device: 'cpu' })
  await using star = await Star.load(at('model'), { device: 'cpu', lora: [{ path: at('style') }] })
  const image = (await base.generate('a cat', { seed: 5 })).images[0]
  const maps = async (of: Star, options = {}): Promise<number[]> =>
    (await of.attention('a cat', { image, ...options })).words.flatMap(({ map }) => [...map])
  const [plain, tuned] = [await maps(base), await maps(star)]
  t.notSame(tuned, plain)
  t.same(await maps(star, { lora: [] }), plain)
  await star.generate('a cat', { lora: [] })
  t.same(await maps(star), tuned)
  const drawn = (await star.generate('a cat', { seed: 5 })).images[0].data
  const beside = await star.generate('a cat', { seed: 5, onScale: async () => void (await maps(star, { lora: [] })) })
  t.same(beside.images[0].data, drawn, 'a drawing keeps its own')
})
