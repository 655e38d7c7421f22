// The tests of test/native: on the simt backend with its checks (two orders of threads, two kinds of garbage) and with
// AddressSanitizer, and on the CPU backend, also as on a processor without bf16. One assertion a test.
import { join } from 'node:path'
import t from 'tap'
import { runNativeTests } from '../../support/native-tests.js'

const runs: { binary: string; how: string; environment: Record<string, string> }[] = [
  { binary: 'star_native_tests', how: 'with the checks', environment: { STAR_SIMT_CHECK: '1' } },
  { binary: 'star_native_tests_asan', how: 'with AddressSanitizer', environment: { STAR_SIMT_CHECK: '0' } },
  { binary: 'star_native_tests_cpu', how: 'on the CPU', environment: {} },
  { binary: 'star_native_tests_cpu', how: 'on a CPU with AVX2 only', environment: { ONEDNN_MAX_CPU_ISA: 'AVX2' } },
]
const dir = t.testdir()
const results = await Promise.all(
  runs.map(({ binary, environment }, i) => runNativeTests(binary, join(dir, `${i}.json`), environment)),
)
results.forEach((tests, i) => {
  t.ok(tests.length > 30, `${runs[i].binary} has tests`)
  for (const { name, passed, skipped, message } of tests) {
    t.ok(passed, `${name} ${runs[i].how}`, skipped ? { skip: skipped } : { failure: message })
  }
})
