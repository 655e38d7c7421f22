/** Run folders as star watch and star report read them. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openRuns, report } from '../../../lib/server/index.js'
import { metricsLine } from '../../support/sample-run.js'
import type { FuzzTarget } from '../target.js'

const soundMetrics = `${[1, 2, 3, 2].map(metricsLine).join('\n')}\n`

const target = (name: string, file: string, seeds: () => Buffer[], pieces: readonly string[]): FuzzTarget => ({
  name,
  sources: ['lib/server/runs/run-view.js', 'lib/server/runs/series.js', 'lib/server/runs/report.js'],
  pieces,
  seeds,
  open: (scratch) => {
    mkdirSync(scratch, { recursive: true })
    writeFileSync(join(scratch, 'config.json'), '{}')
    writeFileSync(join(scratch, 'metrics.jsonl'), soundMetrics)
    return {
      run: (input) => {
        writeFileSync(join(scratch, file), input)
        return `report ${report(openRuns([scratch])).length > 1000}`
      },
    }
  },
})

export const metrics = target('metrics', 'metrics.jsonl', () => [Buffer.from(soundMetrics)], [
  '"step":',
  '"loss":',
  '\n',
  '{"step":1,"__proto__":1}\n',
])
export const runFolder = target(
  'run-folder',
  'config.json',
  () => [Buffer.from('{"kind":"transformer","optimizer":{"steps":1000,"batchSize":8},"name":"x","patchNums":[1,2]}')],
  ['"kind":', '"optimizer":', '"steps":', '{"a":{"b":'],
)
