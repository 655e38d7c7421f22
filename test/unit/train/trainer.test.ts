import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import t from 'tap'
import { native, packageRoot } from '../../../lib/native/index.js'
import { Star } from '../../../lib/star.js'
import { Trainer } from '../../../lib/train/index.js'
import { convertWeights, readModelConfig } from '../../../lib/weights/index.js'
import {
  runSteps,
  tinySamplerRun,
  tinyTokenizerRun,
  tinyTransformerRun,
  writeTinyPack,
} from '../../support/tiny-run.js'

const weightsOf = (folder: string, step: number): Buffer =>
  readFileSync(join(folder, 'checkpoints', `step-${step}.safetensors`))

t.test('training', async (t) => {
  const folder = t.testdir()
  const pack = await writeTinyPack(folder)
  const tokenizerRun = join(folder, 'tokenizer')

  await t.test('a tokenizer run lowers its loss, logs, saves and exports', async (t) => {
    const steps = await runSteps(tinyTokenizerRun(tokenizerRun, pack, 12))
    t.equal(steps.length, 12)
    t.ok(steps[11].loss < steps[0].loss, `${steps[0].loss} → ${steps[11].loss}`)
    t.type(steps[11].metrics['val/psnr'], 'number')
    const lines = readFileSync(join(tokenizerRun, 'metrics.jsonl'), 'utf8').trim().split('\n')
    t.equal(
      lines.length,
      17,
      'a line a step, and one of each validation: after four passes over the images, and at the end',
    )
    t.equal(readModelConfig(join(tokenizerRun, 'model')).name, 'tokenizer')
  })

  await t.test('a transformer run lowers its loss', async (t) => {
    const steps = await runSteps(tinyTransformerRun(join(folder, 'plain'), pack, join(tokenizerRun, 'model'), 20))
    t.ok(steps[19].loss < steps[0].loss, `${steps[0].loss} → ${steps[19].loss}`)
    t.equal(readModelConfig(join(folder, 'plain', 'model')).textEncoder, 'minilm-l6')
  })

  await t.test('a run on the text of a Hugging Face folder gives a model that finds the folder again', async (t) => {
    const own = join(folder, 'clip-run')
    const textEncoder = relative(process.cwd(), join(packageRoot, 'test/data/clip'))
    const config = { ...tinyTransformerRun(own, pack, join(tokenizerRun, 'model'), 4), textEncoder }
    t.equal((await runSteps(config)).length, 4)
    t.equal(readModelConfig(join(own, 'model')).textEncoder, join(packageRoot, 'test/data/clip'))
    await using star = await Star.load(join(own, 'model'), { device: 'cpu' })
    t.equal(star.info().textEncoder, join(packageRoot, 'test/data/clip'))
    t.equal((await star.generate('a red square')).images.length, 1)
    const before = native.memory('cpu').liveBytes
    await t.rejects(runSteps({ ...config, runFolder: join(folder, 'none'), textEncoder: 'minilm-16' }), {
      code: 'ERR_CONFIG',
      message: /"minilm-16".*minilm-l6/,
    })
    t.equal(native.memory('cpu').liveBytes, before, 'what was loaded for a run that does not begin is freed')
  })

  await t.test('a sampler run lowers its loss, leaves its base as it is and exports both', async (t) => {
    const base = join(folder, 'plain', 'model')
    const before = readFileSync(join(base, 'transformer.safetensors'))
    const run1 = join(folder, 'sampler')
    const steps = await runSteps(tinySamplerRun(run1, pack, base, 20))
    t.ok(steps[19].metrics.Lopen < steps[0].metrics.Lopen, `${steps[0].metrics.Lopen} → ${steps[19].metrics.Lopen}`)
    t.ok(readFileSync(join(run1, 'model', 'transformer.safetensors')).equals(before), 'the same transformer')
    await using star = await Star.load(join(run1, 'model'))
    t.ok(star.info().samplerHead)
    const draw = async (stableFrom?: number) =>
      (await star.generate('a red square', { seed: 5, cfg: 2, stableFrom })).images[0].data
    const inSteps = await draw()
    t.same(await draw(), inSteps, 'the same seed draws the same picture')
    t.notSame(await draw(4), inSteps, 'a picture whose tokens are drawn at once is another')
    await t.rejects(Trainer.open({ ...tinySamplerRun(run1, pack, base, 2), stableFrom: 4 }), {
      code: 'ERR_CONFIG',
      message: /stableFrom is 4/,
    })
  })

  await t.test('parts come from checkpoints too, with the scales that the run names', async (t) => {
    const files = join(folder, 'files')
    mkdirSync(files)
    const tokenizer = join(files, 'vae_ch160v4096z32.pth')
    await convertWeights(join(tokenizerRun, 'model', 'tokenizer.safetensors'), tokenizer)
    const own = tinyTransformerRun(join(folder, 'three-scales'), pack, tokenizer, 2)
    t.equal((await runSteps({ ...own, patchNums: [1, 4, 8] })).length, 2)
    const { transformer } = readModelConfig(join(folder, 'three-scales', 'model'))
    t.match(transformer, { patchNums: [1, 4, 8] })
    await t.rejects(Trainer.open({ ...own, patchNums: [1, 4] }), {
      code: 'ERR_CONFIG',
      message: /"data.resolution" is 16, but token maps up to a side of 4 are those of 8 pixels/,
    })

    const base = join(files, 'ar-ckpt-last.safetensors')
    copyFileSync(join(folder, 'plain', 'model', 'transformer.safetensors'), base)
    const config = tinySamplerRun(join(folder, 'on-checkpoint'), pack, base, 2)
    const patchNums = [1, 2, 4, 8]
    await t.rejects(Trainer.open({ ...config, patchNums }), {
      code: 'ERR_CONFIG',
      message: /name the one .*textEncoder/,
    })
    t.equal((await runSteps({ ...config, patchNums, textEncoder: 'minilm-l6' })).length, 2)
    await using star = await Star.load(join(folder, 'on-checkpoint', 'model'))
    t.equal(star.info().textEncoder, 'minilm-l6')
    t.ok(star.info().samplerHead)
  })

  await t.test('a configuration of the reference implementation trains', async (t) => {
    const file = join(folder, 'published.json')
    const out = join(folder, 'published')
    const keys = {
      data_args: { lmdb_dirs: pack },
      ckpt_path: join(folder, 'files'),
      text_enc_path: join(packageRoot, 'test/data/clip'),
      local_out_dir_path: out,
      depth: 2,
      pn: '1_2_4_8',
      patch_size: 2,
      bs: 4,
      ep: 2,
      tf32: true,
    }
    writeFileSync(file, JSON.stringify(keys))
    using trainer = await Trainer.open(file)
    t.equal(trainer.totalSteps, 5, 'two epochs of ten pictures')
    for await (const { loss } of trainer) t.ok(loss > 0)
    t.match(readModelConfig(join(out, 'model')), { name: 'star-d2-16', transformer: { width: 128, heads: 2 } })
    t.match(readFileSync(join(out, 'log.txt'), 'utf8'), /"tf32" true has no effect/)
  })

  for (const [kind, config] of [
    ['tokenizer', (name: string) => tinyTokenizerRun(join(folder, name), pack, 8)],
    ['transformer', (name: string) => tinyTransformerRun(join(folder, name), pack, join(tokenizerRun, 'model'), 8)],
    ['sampler', (name: string) => tinySamplerRun(join(folder, name), pack, join(folder, 'plain', 'model'), 8)],
  ] as const) {
    await t.test(
      `an aborted ${kind} run goes on where it was: the last checkpoint is the same, byte for byte`,
      async (t) => {
        const whole = config(`${kind}-parts`)
        const first = await runSteps(whole, 3)
        t.equal(first.length, 3)
        const rest = await runSteps(whole)
        t.equal(rest[0].step, 4)
        const parts = weightsOf(join(folder, `${kind}-parts`), 8)
        // The same folder name, so that the configuration inside the checkpoint is equal too.
        const again = await runSteps({ ...whole, runFolder: `${whole.runFolder}/../${kind}-whole` })
        t.same(
          again.map((s) => s.loss),
          [...first, ...rest].map((s) => s.loss),
        )
        const metadata = (bytes: Buffer): Buffer => bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)))
        t.ok(metadata(parts).equals(metadata(weightsOf(join(folder, `${kind}-whole`), 8))), 'all tensors')
      },
    )
  }

  await t.test('a damaged checkpoint is skipped for the one before it', async (t) => {
    const config = {
      ...tinyTokenizerRun(join(folder, 'damaged'), pack, 6),
      work: { logEvery: 1, saveEvery: 2, keep: 3 },
    }
    await runSteps(config, 5)
    const last = join(folder, 'damaged', 'checkpoints', 'step-5.safetensors')
    writeFileSync(last, readFileSync(last).subarray(0, 1000))
    const rest = await runSteps(config)
    t.equal(rest[0].step, 5)
    t.match(readFileSync(join(folder, 'damaged', 'log.txt'), 'utf8'), /skipped .*step-5/)
  })

  await t.test('without prompts the sample pictures are of held-out captions', async (t) => {
    await runSteps(tinyTransformerRun(join(folder, 'captions'), pack, join(tokenizerRun, 'model'), 1))
    const [set, ...more] = readdirSync(join(folder, 'captions', 'val_imgs'))
    t.equal(more.length, 0)
    t.strictSame(
      readdirSync(join(folder, 'captions', 'val_imgs', set)).filter((name) => !name.endsWith('.scales.png')),
      ['a black circle on white paper.png', 'a black square on white paper.png'],
    )
  })

  await t.test('a run none of whose checkpoints is whole does not start anew by itself', async (t) => {
    const config = { ...tinyTokenizerRun(join(folder, 'lost'), pack, 4), work: { logEvery: 1, saveEvery: 1, keep: 2 } }
    await runSteps(config, 2)
    const checkpoints = join(folder, 'lost', 'checkpoints')
    const files = readdirSync(checkpoints)
    t.ok(files.length >= 2)
    for (const name of files)
      writeFileSync(join(checkpoints, name), readFileSync(join(checkpoints, name)).subarray(0, 1000))
    await t.rejects(runSteps(config), {
      code: 'ERR_FILE',
      message: /no checkpoint of .*lost is whole \(.*step-2.*step-1.*\): remove its folder "checkpoints"/,
    })
    t.strictSame(readdirSync(checkpoints), files, 'nothing is removed')
  })

  await t.test('a checkpoint that cannot be written is told where the consumer stops', async (t) => {
    const config = {
      ...tinyTokenizerRun(join(folder, 'unsaved'), pack, 9),
      work: { logEvery: 1, saveEvery: 1, picturesEvery: 0 },
    }
    const checkpoints = join(folder, 'unsaved', 'checkpoints')
    using trainer = await Trainer.open(config)
    const stops = async (): Promise<void> => {
      for await (const { step } of trainer) {
        if (step === 1) {
          await trainer.save()
          rmSync(checkpoints, { recursive: true })
          writeFileSync(checkpoints, 'in its place')
        }
        if (step === 2) break
      }
    }
    await t.rejects(stops(), { code: 'ERR_FILE', message: /step-2\.safetensors/ })
  })

  await t.test('a loss that is no number ends the run before anything is written of its step', async (t) => {
    const run = join(folder, 'diverged')
    const config = {
      ...tinyTransformerRun(run, pack, join(tokenizerRun, 'model'), 6),
      optimizer: { batchSize: 4, learningRate: 1e30, clip: 0, steps: 6, schedule: 'lin' },
      work: { logEvery: 1, saveEvery: 1, keep: 9, picturesEvery: 0, validateEvery: 0 },
    }
    const seen: number[] = []
    using trainer = await Trainer.open(config)
    const runs = async (): Promise<void> => {
      for await (const { step, loss } of trainer) {
        t.ok(Number.isFinite(loss))
        seen.push(step)
      }
    }
    await t.rejects(runs(), { code: 'ERR_ARGUMENT', message: /the loss is .* at step \d+: lower the learning rate/ })
    t.ok(seen.length > 0 && seen.length < 6)
    t.same(
      readdirSync(join(run, 'checkpoints')).sort(),
      seen.map((step) => `step-${step}.safetensors`),
    )
    t.notOk(existsSync(join(run, 'model')))
  })

  await t.test('steps leak no memory', async (t) => {
    const before = native.memory('cpu').liveBytes
    const live: number[] = []
    {
      using trainer = await Trainer.open(tinyTransformerRun(join(folder, 'leak'), pack, join(tokenizerRun, 'model'), 6))
      for await (const step of trainer) if (step.step < 6) live.push(native.memory('cpu').liveBytes)
    }
    t.equal(new Set(live).size, 1, `live bytes after each step: ${live.join(', ')}`)
    t.equal(native.memory('cpu').liveBytes, before)
  })

  await t.test('mistakes in a configuration are named', async (t) => {
    const config = tinyTokenizerRun(join(folder, 'wrong'), pack, 2)
    await t.rejects(Trainer.open({ ...config, optimiser: {} }), { code: 'ERR_CONFIG', message: /optimizer/ })
    await t.rejects(Trainer.open({ ...config, data: { packs: [pack], resolution: 32 } }), {
      code: 'ERR_CONFIG',
      message: /resolution/,
    })
    await t.rejects(Trainer.open({ ...config, data: { packs: [join(folder, 'none')], resolution: 16 } }), {
      code: 'ERR_FILE',
    })
    await t.rejects(Trainer.open(join(folder, 'none.json')), { code: 'ERR_FILE' })
  })
})
