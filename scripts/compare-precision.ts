/**
 * Trains the shipped transformer's configuration for some steps in f32, bf16 and f16 from the same start, and compares the
 * losses: `node dist/scripts/compare-precision.js PACK [STEPS]`. PACK is the folder that `star data emoji` writes.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { packageRoot } from '../lib/native/index.js'
import { Trainer } from '../lib/train/index.js'

/** Steps at the end whose losses are averaged: a single batch says little. */
const averaged = 50

const [pack, stepsText = '500'] = process.argv.slice(2)
if (!pack) throw new Error('give the folder of a pack, as "star data emoji --out FOLDER" writes it')
const steps = Number(stepsText)
const config = JSON.parse(readFileSync(join(packageRoot, 'configs/emoji-64.json'), 'utf8')) as {
  optimizer: Record<string, unknown>
}

async function lossOf(precision: string): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'star-precision-'))
  try {
    using trainer = await Trainer.open({
      ...config,
      $schema: undefined,
      runFolder: folder,
      precision,
      data: { packs: [pack], resolution: 64 },
      tokenizer: 'emoji-64',
      optimizer: { ...config.optimizer, steps },
      work: { logEvery: 100, saveEvery: steps, validateEvery: 0 },
    })
    const losses: number[] = []
    const begun = performance.now()
    for await (const { loss } of trainer) losses.push(loss)
    const last = losses.slice(-averaged)
    const mean = last.reduce((sum, loss) => sum + loss, 0) / last.length
    const seconds = (performance.now() - begun) / 1000
    console.log(`${precision}: loss ${mean.toFixed(4)} over the last ${last.length} steps, ${seconds.toFixed(0)} s`)
    return mean
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const reference = await lossOf('f32')
for (const precision of ['bf16', 'f16']) {
  const difference = (await lossOf(precision)) / reference - 1
  console.log(`${precision} / f32: ${(100 * difference).toFixed(2)} %`)
}
