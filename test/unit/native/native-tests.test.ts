// The tests of test/native, on the simt backend: with its checks (two orders of threads, two kinds of garbage), and with
// AddressSanitizer. One assertion a test.
import { join } from 'node:path'
import t from 'tap'
import { runNativeTests } from '../../support/native-tests.js'

const runs = [
  { binary: 'star_native_tests', how: 'with the checks', environment: { STAR_SIMT_CHECK: '1' } },
  { binary: 'star_native_tests_asan', how: 'with AddressSanitizer', environment: { STAR_SIMT_CHECK: '0' } },
]
const dir = t.testdir()
const results = await Promise.all(
  runs.map(({ binary, environment }) => runNativeTests(binary, join(dir, `${binary}.json`), environment)),
)
results.forEach((tests, i) => {
  t.ok(tests.length > 30, `${runs[i].binary} has tests`)
  for (const { name, passed, skipped, message } of tests) {
    t.ok(passed, `${name} ${runs[i].how}`, skipped ? { skip: message || true } : { failure: message })
  }
})
