/** `npm run demo`: eight prompts, one picture, on the shipped model. */
import { join, relative } from 'node:path'
import { report } from '../lib/cli/main.js'
import { tellNotice } from '../lib/cli/notices.js'
import { Progress } from '../lib/cli/progress.js'
import { imageGrid, Star } from '../lib/index.js'
import { packageRoot } from '../lib/native/index.js'

const prompts = [
  'a red heart',
  'a green apple',
  'a strawberry',
  'a woman astronaut',
  'a man health worker',
  'a grinning cat',
  'a yellow circle',
  'a smiling face with sunglasses',
]
const model = 'emoji-64'
const file = join(packageRoot, 'out', 'demo.png')

async function demo(): Promise<void> {
  const begun = performance.now()
  await using star = await Star.load(model, { onNotice: tellNotice })
  const { imageSize, scales, tokens, transformer, textEncoder, device } = star.info()
  console.log(
    `Model ${model} on ${device}: ${((transformer?.parameters ?? 0) / 1e6).toFixed(1)} M parameters, text encoder ${textEncoder}.`,
  )
  console.log(
    `Drawing ${prompts.length} pictures of ${imageSize} × ${imageSize} pixels, each in ${scales.length} scales (${scales.join(', ')}) of ${tokens} tokens together:`,
  )
  prompts.forEach((prompt, i) => {
    console.log(`  ${i + 1}. ${prompt}`)
  })
  using progress = new Progress('drawing')
  const { images } = await star.generate(prompts, {
    seed: 42,
    onScale: ({ scaleIndex }) => progress.update(scaleIndex + 1, scales.length, `scale ${scaleIndex + 1}`),
  })
  progress.stop()
  await imageGrid(images, { columns: 4 }).save(file)
  const seconds = (performance.now() - begun) / 1000
  console.log(
    `Done in ${seconds.toFixed(1)} s. The pictures, row by row in the order above: ${relative(process.cwd(), file)}`,
  )
  console.log('Draw your own: node bin/star.js sample "a green apple" --out apple.png')
}

try {
  await demo()
} catch (error) {
  process.exitCode = report(error)
}
