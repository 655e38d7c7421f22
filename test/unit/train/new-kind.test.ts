/** A new kind of training is a folder and a line of the table: the steps of CONTRIBUTING.md, and no other file, make one. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import { runSpecs } from '../../../lib/train/kinds/index.js'
import { readSources } from '../../support/layers.js'
import { paletteSpec } from '../../support/palette/spec.js'
import { writeTinyPack } from '../../support/tiny-run.js'

// The line of the table. Whoever reads the table is loaded behind it.
Object.assign(runSpecs, { palette: paletteSpec })
const { Trainer } = await import('../../../lib/train/index.js')
const { runJsonSchema } = await import('../../../lib/train/json-schema.js')
const { chooseCheckpoint, describeCheckpoint, exportCheckpoint } = await import(
  '../../../lib/train/checkpoint/checkpoint-report.js'
)
const { readSafetensors } = await import('../../../lib/weights/index.js')
const { scope } = await import('../../../lib/tensor/index.js')
const { program } = await import('../../../lib/cli/main.js')

const folder = t.testdir()
const pack = await writeTinyPack(folder)
const config = {
  kind: 'palette',
  runFolder: join(folder, 'run'),
  data: { packs: [pack], resolution: 16 },
  optimizer: { batchSize: 4, learningRate: 0.05, epochs: 8 },
  work: { logEvery: 1, saveEvery: 7, validateEpochs: 1, picturesEvery: 0 },
}

t.test('it trains, resumes, validates and exports', async (t) => {
  const losses: number[] = []
  const train = async (until: number): Promise<void> => {
    const abort = new AbortController()
    const trainer = await Trainer.open(config, { signal: abort.signal })
    for await (const { step, loss } of trainer) {
      losses.push(loss)
      if (step === until) abort.abort()
    }
    t.equal(trainer.totalSteps, 20)
    trainer.dispose()
  }
  await train(9)
  await train(20)
  t.equal(losses.length, 20, 'no step was taken twice')
  t.ok(losses[19] < 0.5 * losses[0], `${losses[0]} → ${losses[19]}`)
  t.match(readFileSync(join(config.runFolder, 'log.txt'), 'utf8'), /distance \d.*the best so far/)
  const described = describeCheckpoint(chooseCheckpoint(config.runFolder))
  t.match(described, { kind: 'palette', step: 20, config: { colours: 1 }, model: { name: 'palette' } })
  const weights = (model: string): number[] =>
    scope(() => [...readSafetensors(join(model, 'tokenizer.safetensors')).tensors.get('weight')!.floats()])
  const again = join(folder, 'again')
  await exportCheckpoint(chooseCheckpoint(config.runFolder), again, { signal: undefined, onProgress: () => {} })
  t.same(weights(again), weights(join(config.runFolder, 'model')))
})

t.test('the command line and the JSON Schema know it, and mistakes name it', async (t) => {
  const command = program().commands.find((one) => one.name() === 'train-palette')
  t.equal(command?.description(), 'train a palette')
  t.ok(runJsonSchema().then.oneOf.some(({ title }) => title === 'palette'))
  const file = join(folder, 'palette.json')
  writeFileSync(file, JSON.stringify({ ...config, colors: 2 }))
  await t.rejects(Trainer.open(file), { code: 'ERR_CONFIG', message: /unknown key "colors": did you mean "colours"\?/ })
  await t.rejects(Trainer.open({ ...config, kind: 'pallet' }), { message: /or "palette"/ })
})

t.test('no file outside the table asks which kind a run is', async (t) => {
  const asking = readSources(join(packageRoot, 'lib'), ['.ts'])
    .filter(({ path }) => !path.startsWith('train/kinds/'))
    .filter(({ text }) => /\bkind [!=]==? '(tokenizer|transformer|sampler)'|case '(tokenizer|sampler)'/.test(text))
    .map(({ path }) => path)
  // The memory of a training is planned for transformers alone; files of the reference implementation name no kind.
  t.same(asking.sort(), ['cli/plan.ts', 'train/published/translate.ts', 'train/run-config.ts'])
})
