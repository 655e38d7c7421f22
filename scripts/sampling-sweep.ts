/**
 * Which sampling settings suit a model: every combination of guidances, top-k and top-p, by how near pictures of training captions
 * come to their own pictures (retrieval), and by how different pictures of one caption are (diversity). Guidance and narrow sampling
 * raise the first and lower the second.
 *
 *     node dist/scripts/sampling-sweep.js MODEL PACK OUT [--cfg 2,4] [--top-k 0,50] [--top-p 0.5,0.9] [--count 100] [--seed 1]
 *
 * OUT.json gets a record a combination, OUT.md a table of them. The same command goes on where it was stopped, and one with
 * more values adds to what is there.
 */
import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { Interrupted, interruptible } from '../lib/cli/interrupt.js'
import { report } from '../lib/cli/main.js'
import { tellNotice } from '../lib/cli/notices.js'
import { checkWritable } from '../lib/cli/output.js'
import { Progress } from '../lib/cli/progress.js'
import { parseConfig, readConfigFile } from '../lib/config/parse-config.js'
import { LoadedModel } from '../lib/engine/loaded-model.js'
import { SamplingSweep } from '../lib/metrics/index.js'
import { writeFileAtomic } from '../lib/native/files.js'
import { StarError } from '../lib/native/index.js'
import { samplingSchema } from '../lib/sampling/index.js'

const share = z.number().min(0).max(1)
const retrieval = z.object({ count: z.int(), top1: share, top5: share })
const { cfg, topK, topP } = samplingSchema.shape
const recordSchema = z.object({
  ...{ cfg, topK, topP, retrieval },
  inStyle: retrieval.extend({ style: share }).nullable(),
  diversity: z.number(),
})
/** What a sweep is of: figures of another one do not compare. */
const subjectSchema = z.object({ weights: z.string(), data: z.string(), count: z.int().min(2), seed: z.int().min(0) })
const sweepSchema = z.object({ subject: subjectSchema, records: z.array(recordSchema) })
type Sweep = z.output<typeof sweepSchema>

const gridSchema = z.object({ cfg: z.array(cfg), topK: z.array(topK), topP: z.array(topP) })
const batchSize = 16

const percent = (value: number): string => `${(100 * value).toFixed(1)} %`

function tableOf({ subject, records }: Sweep): string {
  const styled = records.some(({ inStyle }) => inStyle)
  const heads = ['guidance', 'top-k', 'top-p', 'own first', 'among five']
  const row = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`
  const all = [
    ...heads,
    ...(styled ? ['first in its style', 'among five in its style', 'right style'] : []),
    'diversity',
  ]
  const lines = records.map(({ cfg, topK, topP, retrieval, inStyle, diversity }) =>
    row([
      ...[cfg, topK, topP, percent(retrieval.top1), percent(retrieval.top5)],
      ...(inStyle ? [inStyle.top1, inStyle.top5, inStyle.style].map(percent) : []),
      diversity.toFixed(4),
    ]),
  )
  return [
    `${subject.count} training captions of ${subject.data}, seed ${subject.seed}; docs/evaluation.md says what the figures are.`,
    '',
    row(all),
    row(all.map(() => '---')),
    ...lines,
    '',
  ].join('\n')
}

const numbersOf = (text: string | undefined, usual: number): number[] =>
  text === undefined ? [usual] : text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)))

/** @throws ERR_ARGUMENT for an option that is none */
function argumentsGiven() {
  const text = { type: 'string' } as const
  const options = { cfg: text, 'top-k': text, 'top-p': text, count: text, seed: text }
  try {
    return parseArgs({ options, allowPositionals: true })
  } catch (error) {
    throw new StarError('ERR_ARGUMENT', (error as Error).message, { cause: error })
  }
}

async function sweep(signal: AbortSignal): Promise<void> {
  const { values, positionals } = argumentsGiven()
  const [name, data, out] = positionals
  if (!out)
    throw new StarError('ERR_ARGUMENT', 'usage: node dist/scripts/sampling-sweep.js MODEL PACK OUT [--cfg 2,4 …]')
  const file = `${out}.json`
  checkWritable(file)
  const model = await LoadedModel.load(name, { onNotice: tellNotice, signal })
  try {
    const usual = samplingSchema.parse(model.info.sampling ?? {})
    const asked = {
      cfg: numbersOf(values.cfg, usual.cfg),
      topK: numbersOf(values['top-k'], usual.topK),
      topP: numbersOf(values['top-p'], usual.topP),
    }
    const grid = parseConfig(gridSchema, asked, 'the grid')
    const given = {
      weights: model.info.weights,
      data,
      count: Number(values.count ?? 100),
      seed: Number(values.seed ?? 1),
    }
    const subject = parseConfig(subjectSchema, given, 'the options')
    const done: Sweep = existsSync(file) ? readConfigFile(sweepSchema, file) : { subject, records: [] }
    if (JSON.stringify(done.subject) !== JSON.stringify(subject))
      throw new StarError('ERR_CONFIG', `${file} is of another model, pack, count or seed: name another file`)
    const combinations = grid.cfg.flatMap((cfg) =>
      grid.topK.flatMap((topK) => grid.topP.map((topP) => ({ cfg, topK, topP }))),
    )
    const open = combinations.filter(
      (one) => !done.records.some(({ cfg, topK, topP }) => cfg === one.cfg && topK === one.topK && topP === one.topP),
    )
    using progress = new Progress('drawing')
    let before = 0
    const onProgress = (drawn: number, total: number): void =>
      progress.update(before * total + drawn, open.length * total, `combination ${before + 1} of ${open.length}`)
    const measure = await SamplingSweep.open(model, { ...subject, batchSize, signal, onProgress })
    for (const one of open) {
      done.records.push({ ...one, ...(await measure.measure(one)) })
      writeFileAtomic(file, `${JSON.stringify(done, null, 2)}\n`)
      writeFileAtomic(`${out}.md`, tableOf(done))
      before++
    }
    progress.stop()
    console.log(tableOf(done))
  } catch (error) {
    if (signal.aborted && !(error instanceof StarError && error.code !== 'ERR_ABORTED'))
      throw new Interrupted('stopped: the same command goes on from here')
    throw error
  } finally {
    await model.dispose()
  }
}

try {
  await interruptible(sweep)
} catch (error) {
  process.exitCode = report(error)
}
