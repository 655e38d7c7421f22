/** Which lines of the readers the attacks have reached, by V8's own counts. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../lib/native/index.js'

/** Where processes leave V8's counts, and the report is written. */
export const coverageFolder = join(packageRoot, 'build', 'fuzz', 'coverage')

export interface CoveredFile {
  /** Below the root of the clone. */
  file: string
  /** Of those that hold code. */
  lines: number
  covered: number
}

/** Forgets what earlier attacks have reached. */
export const clearCoverage = (): void => rmSync(coverageFolder, { recursive: true, force: true })

/**
 * Adds the counts of all processes up and writes build/fuzz/coverage/report/index.html, which marks the lines that were not reached.
 * @param sources compiled files, below dist
 */
export function readCoverage(sources: readonly string[]): CoveredFile[] {
  const missing = sources.find((file) => !existsSync(join(packageRoot, 'dist', file)))
  if (missing !== undefined) throw new Error(`a target names dist/${missing} as covered, which is not there`)
  const report = join(coverageFolder, 'report')
  const include = sources.flatMap((file) => ['--include', `dist/${file}`, '--include', file.replace(/\.js$/, '.ts')])
  execFileSync(
    join(packageRoot, 'node_modules', '.bin', 'c8'),
    [
      ...['report', '--temp-directory', coverageFolder, '--reports-dir', report],
      ...['--reporter', 'json-summary', '--reporter', 'html', ...include],
    ],
    { cwd: packageRoot, stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const summary = JSON.parse(readFileSync(join(report, 'coverage-summary.json'), 'utf8')) as Record<
    string,
    { lines: { total: number; covered: number } }
  >
  return Object.entries(summary)
    .filter(([file]) => file !== 'total')
    .map(([file, { lines }]) => ({
      file: file.slice(packageRoot.length + 1),
      lines: lines.total,
      covered: lines.covered,
    }))
}
