import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import { goldenFolder } from '../../support/golden.js'

const child = join(packageRoot, 'dist', 'test', 'support', 'damaged-files.js')
const packs = readdirSync(join(goldenFolder, 'pack'))
const files = [
  ['pack', join(goldenFolder, 'pack', packs.find((name) => packs.includes(`${name}-info.json`))!)],
  ['weights', join(goldenFolder, 'rope.safetensors')],
  ['weights', join(goldenFolder, 'checkpoint.pth')],
  ['weights', join(goldenFolder, 'state_dict_legacy.pth')],
]

for (const [kind, file] of files) {
  t.test(`damaged copies of ${basename(file)} are read or refused; the process lives`, async (t) => {
    const count = 1500
    const output = execFileSync(process.execPath, [child, kind, file, t.testdir(), '0', String(count)], {
      encoding: 'utf8',
    })
    const { refused, read, maxRSS } = JSON.parse(output)
    t.equal(refused + read, count)
    t.ok(refused > count / 20, `${refused} of ${count} were refused`)
    t.ok(maxRSS < 1e6, `at most ${maxRSS} kB of memory`)
  })
}

t.test('files that cannot be written to their end leave nothing and say why', async (t) => {
  const folder = t.testdir()
  const script = join(packageRoot, 'dist', 'test', 'support', 'limited-files.js')
  // The limit is in blocks of 512 or 1024 bytes, which differs between shells. Node ignores SIGXFSZ, but the test runner's
  // preload handles it by ending the process, now and then before the results are out: the child runs without the preload.
  const limited = 'ulimit -f 256 && unset NODE_OPTIONS && exec "$0" "$@"'
  const output = execFileSync('sh', ['-c', limited, process.execPath, script, folder], { encoding: 'utf8' })
  const { errors, left } = JSON.parse(output)
  t.match(errors, [
    /^ERR_FILE .*text cannot be written: .* \(EFBIG\)/,
    /^ERR_FILE .*weights cannot be written: .* \(EFBIG\)/,
    /^ERR_FILE .*pack cannot be written: .*disk may be full/,
  ])
  t.same(left, [])
})
