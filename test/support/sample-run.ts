/** A run folder as a training leaves it, with curves and pictures made by rule. */
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodePng } from '../../lib/data/png.js'

/** The line of metrics.jsonl for a step. */
export function metricsLine(step: number): string {
  const loss = 8 / (1 + step / 100)
  return JSON.stringify({
    step,
    epoch: 0,
    loss,
    Lm: loss,
    Accm: step / 10,
    L1: loss / 2,
    L10: loss,
    learningRate: 1e-4,
    samplesPerSecond: 4,
  })
}

export function writeSampleRun(folder: string, { name = 'run', steps = 200, pictures = true } = {}): string {
  const run = join(folder, name)
  mkdirSync(run, { recursive: true })
  const config = {
    kind: 'transformer',
    optimizer: { steps: 1000, batchSize: 8 },
    picturesEvery: 500,
    name: `</script><b>${name}</b>`,
  }
  writeFileSync(join(run, 'config.json'), JSON.stringify(config))
  writeFileSync(join(run, 'run.json'), JSON.stringify({ started: new Date(Date.now() - 600_000).toISOString() }))
  const lines = Array.from({ length: steps / 10 }, (_, i) => metricsLine(10 * (i + 1)))
  writeFileSync(join(run, 'metrics.jsonl'), `${lines.join('\n')}\n`)
  appendFileSync(join(run, 'metrics.jsonl'), `${JSON.stringify({ step: 100, 'val/loss': 5 })}\n`)
  if (pictures) for (const step of [50, 100]) addPictures(run, step)
  return run
}

/** A square of one colour for each prompt, and a strip of it scale by scale for the first. */
export function addPictures(run: string, step: number): void {
  const set = join(run, 'val_imgs', `ep1_iter${step}`)
  mkdirSync(set, { recursive: true })
  const square = (width: number, colour: number[]) =>
    encodePng({ width, height: 8, data: Uint8Array.from({ length: width * 8 * 3 }, (_, i) => colour[i % 3]) })
  writeFileSync(join(set, 'red heart.png'), square(8, [200, step, 30]))
  writeFileSync(join(set, 'red heart.scales.png'), square(32, [200, step, 30]))
  writeFileSync(join(set, 'café.png'), square(8, [120, 80, step]))
}
