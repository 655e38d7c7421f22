/** The libFuzzer binaries of test/fuzz/native, which scripts/build-fuzzers makes in build-fuzz. */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { packageRoot } from '../../lib/native/index.js'
import type { Outcome } from './main.js'

const folder = join(packageRoot, 'build-fuzz')
const prefix = 'fuzz_'

/** Names of the targets that are built. */
export const nativeTargets = (): string[] =>
  existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => name.startsWith(prefix) && !name.includes('.'))
        .map((name) => `native-${name.slice(prefix.length)}`)
    : []

/** Runs one for some seconds; its output ends with the number of inputs, or it leaves the input that ended it. */
export function runNative(
  name: string,
  seconds: number,
  cache: string,
  keep: (name: string, input: Buffer, why: string) => string,
): Promise<Outcome> {
  mkdirSync(cache, { recursive: true })
  const artifacts = `${mkdtempSync(join(tmpdir(), 'star-fuzz-native-'))}/`
  const binary = join(folder, `${prefix}${name.slice('native-'.length)}`)
  const seeds = join(packageRoot, 'test', 'fuzz', 'seeds', name)
  const options = ['-timeout=30', '-rss_limit_mb=2000', `-max_total_time=${Math.ceil(seconds)}`, '-print_final_stats=1']
  const child = spawn(
    binary,
    [...options, `-artifact_prefix=${artifacts}`, cache, ...(existsSync(seeds) ? [seeds] : [])],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, OMP_WAIT_POLICY: 'passive', ASAN_OPTIONS: 'detect_leaks=0' },
    },
  )
  let output = ''
  child.stderr.on('data', (text: Buffer) => {
    output = (output + text.toString('utf8')).slice(-50_000)
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      const inputs = Number(
        /number_of_executed_units: (\d+)/.exec(output)?.[1] ?? /#(\d+)\s[^\n]*\n?[^#]*$/.exec(output)?.[1] ?? 0,
      )
      const kinds = Number(/cov: (\d+)(?![\s\S]*cov: )/.exec(output)?.[1] ?? 0)
      const findings = readdirSync(artifacts).map((file) => keep(name, readFileSync(join(artifacts, file)), output))
      if (code !== 0 && findings.length === 0) findings.push(keep(name, Buffer.alloc(0), output))
      rmSync(artifacts, { recursive: true })
      resolve({ inputs, kinds, corpus: readdirSync(cache).length, findings })
    })
  })
}
