import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { star } from '../support/star-command.js'
import { numberedPng, writeText } from '../support/tiny-images.js'

t.test('star pack and star pack verify', async (t) => {
  const folder = t.testdir({ 'my pictures': {} })
  const input = join(folder, 'my pictures')
  for (const n of [0, 1, 2]) {
    writeFileSync(join(input, `${n}.png`), numberedPng(n))
    writeText(input, `${n}.txt`, `picture ${n}`)
  }
  writeText(input, '3.png', 'no picture')
  writeText(input, '3.txt', 'of nothing')
  const out = join(folder, 'out')
  const packed = await star(['pack', input, '--out', out])
  t.same([packed.code, packed.stdout], [0, `${join(out, 'my-pictures-000000')}\n`])
  t.match(
    packed.stderr,
    /^3 images in 1 pack, 1 left out:\n {2}1 whose image cannot be decoded {2}first: 3.png \(.*\)\n$/,
  )
  t.same(readdirSync(out).sort(), [
    'my-pictures-000000',
    'my-pictures-000000-info.json',
    'my-pictures-000000-lock',
    'pack-report.json',
  ])

  const sound = await star(['pack', 'verify', out, '--workers', '2'])
  t.same([sound.code, sound.stderr], [0, ''])
  t.match(sound.stdout, /my-pictures-000000: 3 images, 0 damaged/)
  const file = join(out, 'my-pictures-000000')
  const bytes = readFileSync(file)
  bytes[bytes.indexOf(numberedPng(1)) + 70] ^= 1
  writeFileSync(file, bytes)
  const damaged = await star(['pack', 'verify', out])
  t.equal(damaged.code, 2)
  t.match(
    damaged.stdout,
    /3 images, 1 damaged\n {2}.* its checksum differs\n {2}image "my-pictures-1" of .* cannot be decoded/,
  )
  t.match(damaged.stderr, /^error: 1 of 3 records are damaged [^\n]*\n$/)

  const cases: [string[], RegExp][] = [
    [['pack', input], /^error: --out is missing[^\n]*\n$/],
    [['pack', join(folder, 'none'), '--out', out], /^error: .*none does not exist[^\n]*\n$/],
    [['pack', 'verify', join(folder, 'none')], /^error: .*none does not exist[^\n]*\n$/],
  ]
  for (const [args, message] of cases) {
    const { code, stderr } = await star(args)
    t.equal(code, 2)
    t.match(stderr, message)
  }
})
