/** scripts/prompt-sheet as it is run, on the shipped model. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { Star } from '../../lib/index.js'
import { refused } from '../support/refusal.js'
import { runScript } from '../support/run-script.js'

const model = 'emoji-64'
const root = t.testdir()

/** Mean difference of a tile of the sheet from a picture. */
async function differenceFrom(sheet: string, column: number, row: number, picture: Buffer): Promise<number> {
  const [side, gap, text] = [112, 6, 26]
  const place = { left: gap + column * (side + gap), top: gap + row * (side + text + gap), width: side, height: side }
  const bytes = await Promise.all([
    sharp(sheet).extract(place).removeAlpha().raw().toBuffer(),
    sharp(picture).resize(side, side).removeAlpha().raw().toBuffer(),
  ])
  return bytes[0].reduce((sum, value, i) => sum + Math.abs(value - bytes[1][i]), 0) / bytes[0].length
}

t.test('a sheet of prompts and seeds, with prompts and with numbers', async (t) => {
  const file = join(root, 'prompts.json')
  const [prompts, seeds] = [
    ['a red heart', 'a green apple', 'a strawberry'],
    [5, 9],
  ]
  writeFileSync(file, JSON.stringify({ seeds, prompts }))
  const { code, stdout, stderr } = await runScript('prompt-sheet', [model, file, join(root, 'sheet')])
  t.equal(code, 0, stderr)
  const [named, numbered] = ['sheet.png', 'sheet-numbered.png'].map((name) => join(root, 'sheet', name))
  t.equal(stdout, `${named}\n${numbered}\n`)
  await using star = await Star.load(model)
  for (const [i, prompt] of prompts.entries())
    for (const [j, seed] of seeds.entries()) {
      const picture = await (await star.generate(prompt, { seed })).images[0].toBuffer()
      const [column, row] = [2 * (i % 2) + j, Math.floor(i / 2)]
      for (const sheet of [named, numbered]) t.equal(await differenceFrom(sheet, column, row, picture), 0)
      t.ok((await differenceFrom(named, (column + 2) % 4, 0, picture)) > 1, 'other prompts look otherwise')
    }
  t.notOk(readFileSync(named).equals(readFileSync(numbered)), 'the words differ')

  writeFileSync(file, '{"prompts": []}')
  refused(t, await runScript('prompt-sheet', [model, file, root]), /prompts\.json.*seeds.*missing/)
  refused(
    t,
    await runScript('prompt-sheet', [model]),
    /usage: node dist\/scripts\/prompt-sheet\.js MODEL PROMPTS FOLDER/,
  )
})
