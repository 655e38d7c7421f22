/** A training as a process: `resume-worker.js CONFIG.json IDS.jsonl` writes a line with step and sample ids after each step. */
import { appendFileSync, readFileSync } from 'node:fs'
import { Trainer } from '../../lib/train/index.js'

const [config, ids] = process.argv.slice(2)
try {
  using trainer = await Trainer.open(JSON.parse(readFileSync(config, 'utf8')), { device: 'cpu' })
  for await (const step of trainer) appendFileSync(ids, `${JSON.stringify({ step: step.step, ids: step.ids })}\n`)
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error))
  process.exitCode = 2
}
