/** Runs a GoogleTest binary of build/ and tells what became of each of its tests. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../lib/native/index.js'

export interface NativeTest {
  name: string
  passed: boolean
  /** What failed. */
  message: string
  /** Why the test left itself out, or null. One that gives no reason has failed. */
  skipped: string | null
}

interface GoogleTestResults {
  testsuites: {
    name: string
    testsuite: {
      name: string
      status: 'RUN' | 'NOTRUN'
      result: 'COMPLETED' | 'SKIPPED'
      failures?: { failure: string }[]
    }[]
  }[]
}

/**
 * All tests of `binary`, whose results go through the file `json`. A test in which the process ended (a crash, a report of
 * AddressSanitizer) is a failed one with the end of what was printed; those after it are missing then.
 */
export async function runNativeTests(
  binary: string,
  json: string,
  environment: Record<string, string> = {},
): Promise<NativeTest[]> {
  const path = join(packageRoot, 'build', binary)
  if (!existsSync(path)) {
    throw new Error(`${path} is missing: run "npm test", which builds it, or "cmake --build build --target ${binary}"`)
  }
  const process_ = spawn(path, [`--gtest_output=json:${json}`], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let printed = ''
  for (const stream of [process_.stdout, process_.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      printed += text
    })
  }
  const end = await new Promise<string>((resolve, reject) => {
    process_.on('error', reject).on('close', (code, signal) => resolve(signal ?? `exit status ${code}`))
  })
  if (existsSync(json)) {
    const results = JSON.parse(readFileSync(json, 'utf8')) as GoogleTestResults
    // The results say that a test was skipped, and only what was printed says why.
    const reasons = new Map(
      [...printed.matchAll(/: Skipped\n(.*)\n[\s\S]*?^\[ {2}SKIPPED \] (\S+)/gm)].map(([, reason, name]) => [
        name,
        reason,
      ]),
    )
    return results.testsuites.flatMap((suite) =>
      suite.testsuite.map((test) => {
        const name = `${suite.name}.${test.name}`
        const failures = (test.failures ?? []).map(({ failure }) => failure)
        const reason = test.result === 'SKIPPED' ? (reasons.get(name) ?? '') : null
        if (reason === '') failures.push('the test was skipped without a reason')
        const passed = test.status === 'RUN' && failures.length === 0
        return { name, passed, message: failures.join('\n'), skipped: passed ? reason : null }
      }),
    )
  }
  const passed = [...printed.matchAll(/^\[ {7}OK \] (\S+)/gm)].map(([, name]) => name)
  const started = [...printed.matchAll(/^\[ RUN {6}\] (\S+)/gm)].map(([, name]) => name)
  return [
    ...passed.map((name) => ({ name, passed: true, skipped: null, message: '' })),
    {
      name: started.at(-1) ?? binary,
      passed: false,
      skipped: null,
      message: `the process ended (${end})\n${printed.slice(-6000)}`,
    },
  ]
}
