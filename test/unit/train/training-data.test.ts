import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openPack } from '../../../lib/data/pack.js'
import type { TrainStep } from '../../../lib/train/index.js'
import { writeTar } from '../../support/tiny-images.js'
import { runSteps, tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../../support/tiny-run.js'

/** The pictures of the tiny pack as two tars. */
async function tinyTars(pack: string, folder: string): Promise<string> {
  using images = openPack(pack)
  for (const [i, half] of [images.keys.slice(0, 5), images.keys.slice(5)].entries())
    await writeTar(
      join(folder, `${i}.tar`),
      half.flatMap((key): [string, string | Buffer][] => [
        [`${key}.png`, Buffer.from(images.image(key))],
        [`${key}.json`, JSON.stringify({ caption: images.info(key).prompt })],
      ]),
    )
  return folder
}

const losses = (steps: readonly TrainStep[]): number[] => steps.map(({ loss }) => loss)

t.test('data to train on', async (t) => {
  const folder = t.testdir({ data: {}, tars: {}, empty: {} })
  const pack = await writeTinyPack(join(folder, 'data'))
  const tars = await tinyTars(pack, join(folder, 'tars'))
  await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 4))
  const tokenizer = join(folder, 'tokenizer', 'model')
  const onTars = (name: string, steps: number): Record<string, unknown> => ({
    ...tinyTransformerRun(join(folder, name), pack, tokenizer, steps),
    data: { tars: [tars], heldOutTars: [join(tars, '1.tar')], resolution: 16, flip: 0.5 },
  })

  await t.test('a tokenizer and a transformer train on tars, and go on exactly', async (t) => {
    const tokenizerRun = {
      ...tinyTokenizerRun(join(folder, 'tar-tokenizer'), pack, 6),
      data: { tars: [tars], resolution: 16, flip: 0.5 },
    }
    const whole = await runSteps(tokenizerRun)
    const parts = { ...tokenizerRun, runFolder: join(folder, 'tar-tokenizer-parts') }
    t.same([...losses(await runSteps(parts, 2)), ...losses(await runSteps(parts))], losses(whole))

    const steps = await runSteps(onTars('tar-whole', 9))
    t.type(steps[8].metrics['val/Lm'], 'number')
    t.ok(readdirSync(tars).includes('.star-cache'), 'what was made of the data lies beside it')
    // Whatever the caches hold: nothing, what a killed run left, or all.
    for (const [name, clear] of [
      ['tar-all', false],
      ['tar-none', true],
    ] as const) {
      if (clear) rmSync(join(tars, '.star-cache'), { recursive: true })
      const config = onTars(name, 9)
      t.same([...losses(await runSteps(config, 4)), ...losses(await runSteps(config))], losses(steps), name)
    }
  })

  await t.test('training on versions of images resumes exactly, whatever the caches hold', async (t) => {
    const augment = { variants: 3, shift: 0.1, scale: 0.8, background: 0.5, hue: 0.5 }
    const onVersions = (name: string): Record<string, unknown> => ({
      ...tinyTransformerRun(join(folder, name), pack, tokenizer, 9),
      data: { packs: [pack], resolution: 16, augment },
    })
    const steps = await runSteps(onVersions('versions'))
    const plain = await runSteps(tinyTransformerRun(join(folder, 'no-versions'), pack, tokenizer, 9))
    t.notSame(losses(steps), losses(plain))
    for (const [name, clear] of [
      ['versions-all', false],
      ['versions-none', true],
    ] as const) {
      if (clear) rmSync(join(folder, 'data', '.star-cache'), { recursive: true })
      const config = onVersions(name)
      t.same([...losses(await runSteps(config, 4)), ...losses(await runSteps(config))], losses(steps), name)
    }
    const both = { ...onVersions('both'), data: { packs: [pack], resolution: 16, augment, flip: 0.5 } }
    await t.rejects(runSteps(both), { code: 'ERR_CONFIG', message: /flip stands beside augment: set augment\.flip/ })
  })

  await t.test('what filters leave out is counted in the log', async (t) => {
    const logOf = async (name: string, data: Record<string, unknown>): Promise<string> => {
      await runSteps({
        ...tinyTokenizerRun(join(folder, name), pack, 2),
        data: { resolution: 16, filters: { forbiddenText: ['red'] }, ...data },
      })
      return readFileSync(join(folder, name, 'log.txt'), 'utf8')
    }
    const packs = await logOf('filtered', { packs: [pack], filters: { forbiddenText: ['red', 'black square'] } })
    t.match(packs, /filters leave out 2 of 10 training images: forbiddenText 2 \(/)
    t.match(packs, /filters leave out 1 of 2 held-out images: forbiddenText 1 \(/)
    t.match(
      await logOf('filtered-tars', { tars: [tars] }),
      /filters leave out (\d+) samples read from the training tars, all epochs together: forbiddenText \1 \(/,
    )
    t.notMatch(await logOf('unfiltered', { packs: [pack], filters: {} }), /filters leave out/)
  })

  await t.test('lengths in epochs need the number of images of tars', async (t) => {
    const config = onTars('tar-epochs', 4)
    const { steps: _, ...optimizer } = config.optimizer as Record<string, unknown>
    const inEpochs = { ...config, optimizer: { ...optimizer, epochs: 2 } }
    await t.rejects(runSteps(inEpochs), { code: 'ERR_CONFIG', message: /"data.tarSamples"/ })
    const data = { ...(config.data as object), tarSamples: 12 }
    t.equal((await runSteps({ ...inEpochs, data })).length, 6)
  })

  await t.test('a damaged image is logged and replaced, until there are too many', async (t) => {
    const copy = join(folder, 'damaged')
    const damaged = await writeTinyPack(copy)
    const bytes = readFileSync(damaged)
    for (const key of ['shapes-2', 'shapes-6']) {
      using images = openPack(damaged)
      const image = Buffer.from(images.image(key))
      bytes[bytes.indexOf(image) + image.length - 20] ^= 16
    }
    writeFileSync(damaged, bytes)
    const config = (badShare: number, name: string): Record<string, unknown> => ({
      ...tinyTransformerRun(join(folder, name), damaged, tokenizer, 6),
      data: { packs: [copy], resolution: 16, badShare },
    })
    t.equal((await runSteps(config(0.3, 'bad-enough'))).length, 6)
    const log = readFileSync(join(folder, 'bad-enough', 'log.txt'), 'utf8')
    t.match(log, /left out: image "shapes-2" of .* cannot be decoded/)
    t.equal(log.match(/left out/g)?.length, 2)
    await t.rejects(runSteps(config(0.1, 'too-bad')), {
      code: 'ERR_FILE',
      message: /2 of 10 images are damaged.*data.badShare/,
    })
  })

  await t.test('data that does not fit is named in one line, before the first step', async (t) => {
    const config = tinyTransformerRun(join(folder, 'wrong'), pack, tokenizer, 2)
    const cases: [object, object][] = [
      [{ packs: [join(folder, 'empty')] }, { code: 'ERR_FILE', message: /empty holds no pack .*"star pack"/ }],
      [{ packs: [join(folder, 'none')] }, { code: 'ERR_FILE', message: /none does not exist/ }],
      [
        { packs: [pack], tars: [tars] },
        { code: 'ERR_CONFIG', message: /packs and tars are both given/ },
      ],
      [{}, { code: 'ERR_CONFIG', message: /images are missing: give packs or tars/ }],
      [
        { packs: [pack], filters: { minSize: 3 } },
        { code: 'ERR_CONFIG', message: /minSide/ },
      ],
      [
        { packs: [pack], filters: { captionLength: [100, 200] } },
        { code: 'ERR_CONFIG', message: /left out by filter: captionLength 10\)/ },
      ],
    ]
    for (const [data, error] of cases)
      await t.rejects(runSteps({ ...config, data: { resolution: 16, ...data } }), { name: 'StarError', ...error })
    const large = {
      ...tinyTokenizerRun(join(folder, 'wrong'), pack, 2),
      data: { packs: [pack], resolution: 32 },
    }
    const model = { ...(large as { model?: object }).model, patchNums: [1, 2, 4, 16] }
    await t.rejects(runSteps({ ...large, model }), {
      code: 'ERR_CONFIG',
      message: /no image of .* is left for training at 32 pixels, split train \(left out by filter: minSide 10\)/,
    })
  })
})
