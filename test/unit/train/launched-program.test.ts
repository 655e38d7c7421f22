/** A program that uses the public interface is one training on as many processes as `star launch` starts. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import { star } from '../../support/star-command.js'
import { runSteps, tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../../support/tiny-run.js'

/** Trains each configuration in turn; every process writes what it saw. */
const program = `
import { appendFileSync } from 'node:fs'
import { Trainer } from '${pathToFileURL(join(packageRoot, 'dist', 'lib', 'index.js')).href}'

const [out, ...configs] = process.argv.slice(2)
for (const config of configs) {
  const trainer = await Trainer.open(config)
  for await (const { step, loss, ids } of trainer)
    appendFileSync(out + '.' + process.env.RANK, JSON.stringify({ config, step, loss, ids }) + '\\n')
  trainer.dispose()
}
`

interface Seen {
  config: string
  step: number
  loss: number
  ids: string[]
}

t.test('two runs in one program on two processes', async (t) => {
  const folder = t.testdir({ 'program.mjs': program })
  const pack = await writeTinyPack(folder)
  const model = join(folder, 'shared', 'tokenizer', 'model')
  const configs = (where: string): Record<string, unknown>[] => [
    tinyTokenizerRun(join(folder, where, 'tokenizer'), pack, 3),
    tinyTransformerRun(join(folder, where, 'transformer'), pack, model, 4),
  ]
  const files = configs('shared').map((config, i) => {
    const file = join(folder, `${i}.json`)
    writeFileSync(file, JSON.stringify(config))
    return file
  })
  const out = join(folder, 'seen')
  const { code, stderr } = await star(['launch', '--nproc-per-node', '2', join(folder, 'program.mjs'), out, ...files], {
    env: { OMP_NUM_THREADS: '1', STAR_COMM_TIMEOUT: '120' },
  })
  t.equal(code, 0, stderr)
  const seen = [0, 1].map((rank) =>
    readFileSync(`${out}.${rank}`, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Seen),
  )
  const alone: Seen[] = []
  for (const [i, config] of configs('alone').entries())
    for (const { step, loss, ids } of await runSteps(config))
      alone.push({ config: files[i], step, loss, ids: [...ids] })
  for (const steps of seen)
    t.same(
      steps.map(({ config, step }) => [config, step]),
      alone.map(({ config, step }) => [config, step]),
    )
  alone.forEach(({ ids, loss }, i) => {
    const [first, second] = seen.map((steps) => steps[i])
    t.same([...first.ids, ...second.ids], ids, 'each took half of the batch')
    t.equal(first.loss, second.loss, 'and has the loss of all of it')
    t.ok(Math.abs(first.loss / loss - 1) < 1e-4, `loss ${first.loss}, alone ${loss}`)
  })
  for (const run of ['tokenizer', 'transformer']) {
    const runFolder = join(folder, 'shared', run)
    t.match(JSON.parse(readFileSync(join(runFolder, 'run.json'), 'utf8')), { processes: 2 })
    t.equal(
      readFileSync(join(runFolder, 'metrics.jsonl'), 'utf8').match(/"learningRate"/g)!.length,
      run === 'tokenizer' ? 3 : 4,
    )
    const last = run === 'tokenizer' ? 3 : 4
    t.ok(existsSync(join(runFolder, 'checkpoints', `step-${last}.safetensors`)))
    t.ok(existsSync(join(runFolder, 'model', 'model.json')))
  }
})
