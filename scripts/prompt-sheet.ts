/**
 * The sheet that a model is judged by: prompts and seeds that were written down before it was trained, such as
 * configs/sheets/icons-128.json. `node dist/scripts/prompt-sheet.js MODEL PROMPTS FOLDER` writes sheet.png, with the prompts below
 * the pictures, and sheet-numbered.png, with numbers in their place, for people who are to name what they see.
 */
import { join } from 'node:path'
import { z } from 'zod'
import { report } from '../lib/cli/main.js'
import { tellNotice } from '../lib/cli/notices.js'
import { Progress } from '../lib/cli/progress.js'
import { readConfigFile } from '../lib/config/parse-config.js'
import { drawSheet } from '../lib/data/index.js'
import { Star } from '../lib/index.js'
import { makeFolder, writeFileAtomic } from '../lib/native/files.js'
import { StarError } from '../lib/native/index.js'

const promptsSchema = z.strictObject({
  seeds: z.array(z.int().min(0)).min(1),
  prompts: z.array(z.string().min(1)).min(1),
})

/** Prompts beside each other. */
const promptsInRow = 2

async function draw([model, file, folder]: readonly string[]): Promise<void> {
  if (!folder) throw new StarError('ERR_ARGUMENT', 'usage: node dist/scripts/prompt-sheet.js MODEL PROMPTS FOLDER')
  const { seeds, prompts } = readConfigFile(promptsSchema, file)
  makeFolder(folder)
  await using star = await Star.load(model, { onNotice: tellNotice })
  using progress = new Progress('drawing')
  const pictures: { image: Buffer; prompt: number }[] = []
  for (const [prompt, text] of prompts.entries()) {
    const drawn = await Promise.all(seeds.map((seed) => star.generate(text, { seed })))
    for (const { images } of drawn) pictures.push({ image: await images[0].toBuffer(), prompt })
    progress.update(prompt + 1, prompts.length)
  }
  progress.stop()
  for (const [name, caption] of [
    ['sheet.png', (prompt: number) => prompts[prompt]],
    ['sheet-numbered.png', (prompt: number) => `${prompt + 1}`],
  ] as const) {
    const tiles = pictures.map(({ image, prompt }) => ({ image, caption: caption(prompt) }))
    writeFileAtomic(join(folder, name), await drawSheet(tiles, promptsInRow * seeds.length))
    console.log(join(folder, name))
  }
}

try {
  await draw(process.argv.slice(2))
} catch (error) {
  process.exitCode = report(error)
}
