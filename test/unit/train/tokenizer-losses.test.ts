import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { native } from '../../../lib/native/index.js'
import { scope } from '../../../lib/tensor/index.js'
import { Trainer } from '../../../lib/train/index.js'
import { convertWeights, readSafetensors } from '../../../lib/weights/index.js'
import { relativeError } from '../../support/compare.js'
import { writeBackbone } from '../../support/random-backbone.js'
import { runSteps, tinyTokenizerRun, writeTinyPack } from '../../support/tiny-run.js'

const folder = t.testdir()
const pack = await writeTinyPack(folder)
const backbone = writeBackbone(folder)
const adversarial = { channels: 8, layers: 2, start: 2, warmupSteps: 2, learningRate: 1e-3 }

/** A run with both losses; the discriminator begins with the third step. */
const config = (name: string, steps: number, more: object = {}): Record<string, unknown> => ({
  ...tinyTokenizerRun(join(folder, name), pack, steps),
  loss: { perceptual: { weight: 0.5, logits: 0.01, backbone }, adversarial },
  ...more,
})

const values = (file: string): Map<string, Float32Array> =>
  scope(() => new Map([...readSafetensors(file).tensors].map(([name, tensor]) => [name, tensor.floats()])))
const checkpoint = (name: string, step: number): Map<string, Float32Array> =>
  values(join(folder, name, 'checkpoints', `step-${step}.safetensors`))

t.test('both losses are logged, and the discriminator begins when it is told to', async (t) => {
  using trainer = await Trainer.open(config('whole', 6))
  const bytes: number[] = []
  const names: string[][] = []
  for await (const { metrics, step } of trainer) {
    bytes.push(native.memory('cpu').liveBytes)
    names.push(Object.keys(metrics))
    t.ok(metrics.perceptual > 0, `perceptual ${metrics.perceptual}`)
    if (step <= 2) continue
    t.ok(metrics.discriminator > 0, `discriminator ${metrics.discriminator}`)
    t.equal(metrics.adversarialWeight === 0, step === 3, `weight ${metrics.adversarialWeight}`)
    const { l1, l2, detail, quantizer, perceptual, adversarial, adversarialWeight, loss } = metrics
    const sum = l1 + l2 + detail + quantizer + perceptual + adversarialWeight * adversarial
    t.ok(Math.abs(sum - loss) < 1e-4 * Math.abs(sum), `${sum} is ${loss}`)
  }
  t.notOk(names[1].includes('discriminator'))
  t.ok(names[2].includes('discriminator'))
  t.equal(bytes[4], bytes[3], 'a step leaves nothing behind')
  const held = await trainer.validate()
  t.ok(held.perceptual > 0 && held.usage > 0 && held.usage <= 1, JSON.stringify(held))
})

t.test('a run that was stopped goes on exactly, with the discriminator and its optimizer', async (t) => {
  await runSteps(config('stopped', 6), 4)
  await runSteps(config('stopped', 6))
  const [stopped, whole] = [checkpoint('stopped', 6), checkpoint('whole', 6)]
  t.strictSame([...stopped.keys()], [...whole.keys()])
  t.ok(stopped.has('task.discriminator.layers.1.conv.weight.exp_avg'))
  for (const [name, expected] of whole) t.strictSame(stopped.get(name), expected, name)
  // Two halves of a batch leave what the whole one does, but for the order of additions.
  const optimizer = { ...(config('halves', 3).optimizer as object), accumulate: 2 }
  await runSteps(config('halves', 3, { optimizer }))
  await runSteps(config('once', 3))
  const [halves, once] = [checkpoint('halves', 3), checkpoint('once', 3)]
  for (const name of ['task.discriminator.layers.0.conv.weight.exp_avg', 'optimizer.decoder.conv_out.weight.exp_avg'])
    t.ok(relativeError(halves.get(name)!, once.get(name)!) < 1e-4, `${name} in micro-batches`)
})

t.test('a checkpoint without the discriminator is refused by a run that has one', async (t) => {
  await runSteps({ ...config('plain', 2), loss: {} })
  await t.rejects(Trainer.open(config('plain', 4)), {
    code: 'ERR_SHAPE',
    message: /holds no discriminator\.layers\.0\.conv\.weight: begin a new run with its weights \(start\.weights\)/,
  })
})

t.test('the decoder is trained on alone from trained weights, and token maps stay', async (t) => {
  const start = { weights: join(folder, 'whole', 'model') }
  const steps = await runSteps(config('decoder', 3, { start, train: 'decoder' }))
  t.notOk('quantizer' in steps[0].metrics, 'the quantizer has no loss')
  const [before, after] = ['whole', 'decoder'].map((name) =>
    values(join(folder, name, 'model', 'tokenizer.safetensors')),
  )
  for (const [name, expected] of before) {
    if (name === 'quantize.ema_vocab_hit_SV') continue
    const same = relativeError(after.get(name)!, expected) === 0
    t.equal(same, !/^(decoder|post_quant_conv)\./.test(name), name)
  }
  const kept = [...checkpoint('decoder', 3).keys()]
  t.notOk(kept.includes('optimizer.encoder.conv_in.weight.exp_avg'), 'frozen weights have no moments')
  t.ok(kept.includes('model.encoder.conv_in.weight'))
})

t.test('a tokenizer starts from a published checkpoint with its codebook, or goes on with its optimizer', async (t) => {
  const published = join(folder, 'vae_ch160v4096z32.pth')
  await convertWeights(join(folder, 'whole', 'model', 'tokenizer.safetensors'), published)
  const trained = values(join(folder, 'whole', 'model', 'tokenizer.safetensors'))
  using trainer = await Trainer.open(config('published', 2, { start: { weights: published }, loss: {} }))
  const first = values(await trainer.save())
  for (const name of ['quantize.embedding.weight', 'encoder.conv_in.weight', 'decoder.conv_out.weight'])
    t.strictSame(first.get(`model.${name}`), trained.get(name), name)
  const rows = new Set(trained.get('quantize.embedding.weight'))
  // No rows are replaced by a first codebook: after a step they have moved by the learning rate at most.
  for await (const _ of trainer) break
  const next = values(await trainer.save()).get('model.quantize.embedding.weight')!
  const before = trained.get('quantize.embedding.weight')!
  t.ok(rows.size > 10 && next.every((v, i) => Math.abs(v - before[i]) < 0.01))

  const file = join(folder, 'whole', 'checkpoints', 'step-6.safetensors')
  const kept = config('kept', 2, { start: { weights: file, optimizer: 'keep' }, loss: {} })
  using on = await Trainer.open(kept)
  const moments = values(await on.save())
  const name = 'optimizer.encoder.conv_in.weight.exp_avg'
  t.strictSame(moments.get(name), checkpoint('whole', 6).get(name))
  t.match(readFileSync(join(folder, 'kept', 'log.txt'), 'utf8'), /started from .*step-6\.safetensors, optimizer kept/)

  await t.rejects(
    Trainer.open({
      ...config('misfit', 2, { start: { weights: published }, loss: {} }),
      model: {
        ...(kept.model as object),
        baseChannels: 64,
      },
    }),
    { code: 'ERR_SHAPE', message: /start\.weights, .*vae_ch160v4096z32\.pth: the weights do not fit the model/ },
  )
})

t.test('what cannot be is refused in one line', async (t) => {
  await t.rejects(Trainer.open(config('small', 2, { loss: { adversarial: { layers: 4 } } })), {
    code: 'ERR_CONFIG',
    message: /"loss\.adversarial\.layers" is 4, but a side of 16 pixels has no patches left after them: set at most 2/,
  })
  await t.rejects(Trainer.open(config('alone', 2, { train: 'decoder' })), {
    code: 'ERR_CONFIG',
    message: /"train" is "decoder", but nothing says whose encoder and codebook stay: set "start"/,
  })
  await t.rejects(Trainer.open(config('none', 2, { loss: { perceptual: { backbone: 'nowhere.pth' } } })), {
    code: 'ERR_FILE',
    message: /there is no backbone "nowhere.pth"/,
  })
  const live = native.memory('cpu').liveBytes
  await t.rejects(
    Trainer.open(
      config('other', 2, {
        loss: { perceptual: { backbone: join(folder, 'whole', 'model', 'tokenizer.safetensors') } },
      }),
    ),
    {
      code: 'ERR_SHAPE',
    },
  )
  t.equal(native.memory('cpu').liveBytes, live, 'nothing is left behind by a run that does not begin')
  t.ok(readdirSync(folder).includes('other'))
})
