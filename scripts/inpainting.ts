/**
 * How well a model draws what is missing: of held-out pictures a quarter is masked and drawn anew from the caption, and compared with
 * what the caption alone gives at the same place. `node dist/scripts/inpainting.js PACK [MODEL [SHEET]]`; SHEET is a PNG of twelve edits.
 */
import { writeFileSync } from 'node:fs'

import { drawSheet, encodePng } from '../lib/data/index.js'
import { type Box, Star, type StarImage } from '../lib/index.js'
import { PackPictures } from '../lib/metrics/pack-pictures.js'
import { Random } from '../lib/tensor/index.js'

const [packs, model = 'emoji-64', sheet] = process.argv.slice(2)
if (!packs) throw new Error('usage: node dist/scripts/inpainting.js PACK [MODEL [SHEET]]')

/** Pictures at a time, which the model draws in one batch. */
const together = 8
const seed = 1

await using star = await Star.load(model)
const side = star.imageSize
const pack = await PackPictures.open(packs, side)
const random = new Random(seed)
const chosen = pack.where(({ split }) => split === 'held-out').slice(0, 200)
const cases = chosen.map((i) => {
  const [x, y] = [random.integer(side / 2 + 1), random.integer(side / 2 + 1)]
  return { i, box: { x, y, width: side / 2, height: side / 2 }, caption: pack.records[i].caption }
})

/** Σ (a − b)² over the box. */
function distance(a: Uint8Array, b: Uint8Array, { x, y, width, height }: Box): number {
  let sum = 0
  for (let v = y; v < y + height; v++)
    for (let i = (v * side + x) * 3; i < (v * side + x + width) * 3; i++) sum += (a[i] - b[i]) ** 2
  return sum
}

/** The picture with the box in grey. */
function masked(data: Uint8Array, { x, y, width, height }: Box): Uint8Array {
  const copy = Uint8Array.from(data)
  for (let v = y; v < y + height; v++) copy.fill(160, (v * side + x) * 3, (v * side + x + width) * 3)
  return copy
}

let nearer = 0
const sums = { edited: 0, drawn: 0 }
const shown: { image: Uint8Array; caption: string }[] = []
const png = (data: Uint8Array): Uint8Array => encodePng({ width: side, height: side, data })
for (let begin = 0; begin < cases.length; begin += together)
  await Promise.all(
    cases.slice(begin, begin + together).map(async ({ i, box, caption }, j) => {
      const given = await pack.load(i)
      const one = async (result: Promise<{ images: StarImage[] }>): Promise<Uint8Array> => (await result).images[0].data
      const image = { width: side, height: side, data: given }
      const edited = await one(star.edit(image, { prompt: caption, mask: box, feather: 0, seed }))
      const drawn = await one(star.generate(caption, { seed }))
      const [near, far] = [distance(edited, given, box), distance(drawn, given, box)]
      sums.edited += near
      sums.drawn += far
      if (near < far) nearer++
      if (begin === 0 && j < 6 && sheet) {
        const smooth = await one(star.edit(image, { prompt: caption, mask: box, seed }))
        shown.push(
          { image: png(masked(given, box)), caption: `${caption}: given` },
          { image: png(smooth), caption: 'drawn' },
        )
      }
    }),
  )
const rms = (sum: number): string => Math.sqrt(sum / (cases.length * (side / 2) ** 2 * 3)).toFixed(1)
console.log(
  `${cases.length} held-out pictures, a quarter of each masked: nearer than a picture of the caption alone in ` +
    `${nearer} (${((100 * nearer) / cases.length).toFixed(1)} %); root mean square ${rms(sums.edited)} and ${rms(sums.drawn)} of 255`,
)

if (sheet) {
  // Captions that the model knows: other edits of the picture that it draws of them.
  const add = async (given: StarImage, result: Promise<{ images: StarImage[] }>, caption: string): Promise<void> => {
    const [image] = (await result).images
    shown.push(
      { image: await given.toBuffer(), caption: given.settings.prompt },
      { image: await image.toBuffer(), caption },
    )
  }
  const of = async (prompt: string): Promise<StarImage> => (await star.generate(prompt, { seed })).images[0]
  const apple = await of('a red apple')
  await add(
    apple,
    star.edit(apple, { prompt: 'a green apple', mask: { x: 0, y: 0, width: 32, height: 64 }, seed }),
    'left half: a green apple',
  )
  const cat = await of('a cat face')
  await add(
    cat,
    star.edit(cat, { prompt: 'a dog face', mask: { x: 8, y: 24, width: 48, height: 40 }, seed }),
    'lower part: a dog face',
  )
  const heart = await of('a red heart')
  await add(
    heart,
    star.edit(heart, { prompt: 'a red heart', extend: { left: 24, right: 24 }, seed }),
    '24 pixels on each side',
  )
  await add(heart, star.vary(heart, { prompt: 'a blue heart', strength: 0.5, seed }), 'varied by 0.5: a blue heart')
  await add(apple, star.vary(apple, { prompt: 'a pear', strength: 0.7, seed }), 'varied by 0.7: a pear')
  await add(cat, star.vary(cat, { prompt: 'a cat face', strength: 0.3, seed }), 'varied by 0.3')
  writeFileSync(sheet, await drawSheet(shown, 6))
}
