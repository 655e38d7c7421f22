/** The training of LoRAs: on a frozen base, resumed exactly, with pictures of the base's own beside the images. */
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openLora } from '../../../lib/models/lora/index.js'
import { native } from '../../../lib/native/index.js'
import { Star } from '../../../lib/star.js'
import { scope } from '../../../lib/tensor/index.js'
import {
  chooseCheckpoint,
  describeCheckpoint,
  exportCheckpoint,
} from '../../../lib/train/checkpoint/checkpoint-report.js'
import { readSafetensors } from '../../../lib/weights/index.js'
import { runSteps, tinyLoraRun, tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../../support/tiny-run.js'

const folder = t.testdir()
const at = (...names: string[]): string => join(folder, ...names)
const base = at('base', 'model')
const pack = await writeTinyPack(folder)
await runSteps(tinyTokenizerRun(at('tokenizer'), pack, 4))
await runSteps(tinyTransformerRun(at('base'), pack, at('tokenizer', 'model'), 60))

const run = (name: string, steps: number, changes: object = {}): Record<string, unknown> => ({
  ...tinyLoraRun(at(name), pack, base, steps),
  ...changes,
})
const prior = { prompts: ['a red square on white paper', 'a blue circle on white paper'], pictures: 5, weight: 0.5 }
const weights = readFileSync(join(base, 'transformer.safetensors'))

/** The bytes of all tensors of a checkpoint by name. */
const stored = (name: string, step: number): Record<string, string> =>
  scope(() => {
    const { tensors } = readSafetensors(at(name, 'checkpoints', `step-${step}.safetensors`))
    return Object.fromEntries(
      Array.from(tensors, ([key, { handle }]) => [key, Buffer.from(handle.read()).toString('base64')]),
    )
  })

t.test('it lowers its loss, leaves the base as it was, and gives a LoRA of a few kilobytes', async (t) => {
  const before = native.memory('cpu').liveBytes
  const steps = await runSteps(run('plain', 30))
  t.equal(native.memory('cpu').liveBytes, before)
  t.ok(steps[29].loss < steps[0].loss, `${steps[0].loss} → ${steps[29].loss}`)
  t.type(steps[29].metrics['val/Lm'], 'number')
  t.ok(readFileSync(join(base, 'transformer.safetensors')).equals(weights))
  const lora = openLora(at('plain', 'model'))
  t.match(lora, { name: 'plain', alpha: 4, base: { name: base } })
  t.equal(lora.shapes.size, 14)
  t.ok(lora.bytes < 100_000, `${lora.bytes} bytes`)
  await using plain = await Star.load(base, { device: 'cpu' })
  await using tuned = await Star.load(base, { device: 'cpu', lora: [{ path: at('plain', 'model') }] })
  const draw = async (star: Star) => (await star.generate('a red square', { count: 4 })).images.map(({ data }) => data)
  t.notSame(await draw(tuned), await draw(plain))
  await using itself = await Star.load(at('plain', 'model'), { device: 'cpu' })
  t.strictSame(await draw(itself), await draw(tuned), 'the folder of the run is the model with it')
  t.ok(
    readdirSync(at('plain', 'val_imgs')).some((name) => name.endsWith('_iter20')),
    'sample pictures',
  )
})

t.test('targets, rank and alpha are those of the configuration', async (t) => {
  await runSteps(run('narrow', 2, { rank: 2, alpha: 6, targets: ['cross-attention'] }))
  const lora = openLora(at('narrow', 'model'))
  t.same(
    [...lora.shapes.keys()],
    [0, 1].flatMap((i) => ['mat_kv', 'mat_q', 'proj'].map((x) => `blocks.${i}.cross_attn.${x}`)),
  )
  t.match(lora.shapes.get('blocks.0.cross_attn.proj'), { rank: 2, scale: 3, inputs: 64, outputs: 64 })
  const config = JSON.parse(readFileSync(at('narrow', 'model', 'adapter_config.json'), 'utf8'))
  t.same(config.target_modules, ['cross_attn.mat_q', 'cross_attn.mat_kv', 'cross_attn.proj'])
})

for (const [name, changes] of [
  ['alone', {}],
  ['with pictures of its own', { prior, recompute: true }],
  ['on a base in 8 bits', { prior, baseDtype: 'int8' }],
  ['in bf16, in micro-batches', { prior, precision: 'bf16', scaleWeights: 'side' }],
] as const) {
  t.test(`a run that is stopped resumes exactly, ${name}`, async (t) => {
    const optimizer = { ...(run('x', 12).optimizer as object), accumulate: name.includes('micro') ? 2 : 1 }
    const work = { logEvery: 1, saveEvery: 3, keep: 9, validateEvery: 5, picturesEvery: 0 }
    const whole = await runSteps(run('whole', 12, { ...changes, optimizer, work }))
    const first = await runSteps(run('cut', 12, { ...changes, optimizer, work }), 5)
    const second = await runSteps(run('cut', 12, { ...changes, optimizer, work }), 2)
    const rest = await runSteps(run('cut', 12, { ...changes, optimizer, work }))
    const told = (steps: typeof whole) => steps.map(({ samplesPerSecond: _, ...step }) => step)
    t.same(told([...first, ...second, ...rest]), told(whole))
    t.same(stored('cut', 12), stored('whole', 12))
    if ('prior' in changes) {
      t.ok(whole.every(({ metrics }) => metrics.Lprior > 0))
      const drawn = (name: string): Buffer => readFileSync(at(name, 'prior.safetensors'))
      t.strictSame(drawn('cut'), drawn('whole'))
    }
    rmSync(at('whole'), { recursive: true })
    rmSync(at('cut'), { recursive: true })
  })
}

t.test('star ckpt export gives the LoRA of a checkpoint; the averaged weights where there are some', async (t) => {
  await runSteps(run('exported', 6, { work: { saveEvery: 3, keep: 2, keepBest: false } }))
  const context = { onProgress: () => {}, signal: undefined }
  await exportCheckpoint(chooseCheckpoint(at('exported')), at('again'), context)
  for (const file of ['adapter_model.safetensors', 'adapter_config.json'])
    t.strictSame(readFileSync(at('again', file)), readFileSync(at('exported', 'model', file)))
  t.match(describeCheckpoint(chooseCheckpoint(at('exported'))), { kind: 'lora', step: 6, model: { name: 'tiny-lora' } })
  await exportCheckpoint(chooseCheckpoint(at('exported'), { step: 3 }), at('early'), context)
  t.notSame(
    readFileSync(at('early', 'adapter_model.safetensors')),
    readFileSync(at('again', 'adapter_model.safetensors')),
  )
})

t.test('pictures of its own keep the base from forgetting', async (t) => {
  // What the base draws of prompts that the images have nothing to do with, as loss after training on the images.
  const kept = async (name: string, weight: number): Promise<number> => {
    const steps = await runSteps(run(name, 40, { prior: { ...prior, weight }, textDropout: 0 }))
    return steps.slice(-5).reduce((sum, { metrics }) => sum + metrics.Lprior / 5, 0)
  }
  const [without, beside] = [await kept('forgetting', 0), await kept('keeping', 4)]
  t.ok(beside < without - 0.05, `loss of what it knew: ${without} without, ${beside} with`)
})

t.test('configurations that make no sense are refused in words', async (t) => {
  const refuse = (changes: object, expected: { code: string; message: RegExp }) =>
    t.rejects(runSteps(run('refused', 2, changes)), expected)
  await refuse({ base: at('tokenizer', 'model') }, { code: 'ERR_CONFIG', message: /base: .* holds no transformer/ })
  await refuse({ base: at('plain', 'model') }, { code: 'ERR_FILE', message: /is a LoRA, which draws with the model/ })
  await refuse({ targets: ['head'] }, { code: 'ERR_CONFIG', message: /targets/ })
  await refuse({ rank: 0 }, { code: 'ERR_CONFIG', message: /rank/ })
  await refuse(
    { prior: { ...prior, prompts: [] } },
    { code: 'ERR_CONFIG', message: /there are no prompts: give prompts or promptFile/ },
  )
  await refuse({ start: { weights: base } }, { code: 'ERR_CONFIG', message: /unknown key "start"/ })
  await t.rejects(
    runSteps({
      ...tinyTransformerRun(at('from-lora'), pack, base, 2),
      start: { weights: chooseCheckpoint(at('plain')) },
    }),
    { code: 'ERR_FILE', message: /holds no weights of a transformer: it is of a run of kind "lora"/ },
  )
  await t.rejects(runSteps(run('plain', 40, { rank: 2 })), {
    code: 'ERR_SHAPE',
    message: /does not belong to this configuration/,
  })
})
