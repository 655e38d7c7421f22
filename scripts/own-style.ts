/**
 * The demonstration of docs/guides/own-style.md: pictures of a style that the model "emoji-64" does not know, with captions that it
 * does, and how much of the style a LoRA of them carries over to things that were not among them.
 *
 *     node dist/scripts/own-style.js pictures ICONS EMOJI STYLE FOLDER [--count 40]
 *     node dist/scripts/own-style.js measure ICONS EMOJI STYLE LORA [--count 40] [--tests 100] [--strength 1]
 *
 * ICONS and EMOJI are the folders that "star data icons" and "star data emoji" have written, LORA is the "model" folder of a run.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { findPacks, openPack, preprocessImage } from '../lib/data/index.js'
import { Star, StarError } from '../lib/index.js'
import { thumbnail } from '../lib/metrics/retrieval.js'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string', default: '40' },
    tests: { type: 'string', default: '100' },
    strength: { type: 'string', default: '1' },
  },
})
const [action, icons, emoji, style, target] = positionals
if (!target || (action !== 'pictures' && action !== 'measure'))
  throw new StarError('ERR_ARGUMENT', 'usage: own-style pictures|measure ICONS EMOJI STYLE FOLDER')
const count = Number(values.count)

interface Thing {
  name: string
  caption: string
  png: Uint8Array
}

/** What there is in the style and the model knows, by the model's own caption of it. */
function known(): Thing[] {
  const captions = new Map<unknown, string>()
  for (const path of findPacks([emoji])) {
    const pack = openPack(path)
    for (const { id, prompt, split } of pack.keys.map((key) => pack.info(key)))
      if (split === 'train' && typeof prompt === 'string') captions.set(id, prompt)
    pack.close()
  }
  return findPacks([icons]).flatMap((path) => {
    const pack = openPack(path)
    const things = pack.keys.flatMap((key): Thing[] => {
      const info = pack.info(key)
      const caption = captions.get(info.concept)
      return info.style === style && caption ? [{ name: `${info.concept}`, caption, png: pack.image(key) }] : []
    })
    pack.close()
    return things
  })
}

/** `n` of a list, evenly spread. */
const spread = <T>(list: readonly T[], n: number): T[] =>
  Array.from({ length: Math.min(n, list.length) }, (_, i) => list[Math.floor((i * list.length) / n)])

const things = known()
const chosen = spread(things, count)
if (action === 'pictures') {
  mkdirSync(target, { recursive: true })
  for (const { name, caption, png } of chosen) {
    writeFileSync(join(target, `${name}.png`), png)
    writeFileSync(join(target, `${name}.txt`), `${caption}\n`)
  }
} else {
  const names = new Set(chosen.map(({ name }) => name))
  const unseen = spread(
    things.filter(({ name }) => !names.has(name)),
    Number(values.tests),
  )
  await using base = await Star.load('emoji-64', { device: 'cpu' })
  await using tuned = await Star.load('emoji-64', {
    device: 'cpu',
    lora: [{ path: target, strength: Number(values.strength) }],
  })
  const drawn = async (star: Star, list: readonly Thing[]): Promise<Float32Array[]> =>
    (
      await star.generate(
        list.map(({ caption }) => caption),
        { seed: 1 },
      )
    ).images.map(({ data, width }) => thumbnail(data, width))
  for (const [what, list] of [
    ['trained on', chosen],
    ['not trained on', unseen],
  ] as const) {
    const own = await Promise.all(list.map(async ({ png }) => thumbnail(await preprocessImage(png, 64), 64)))
    const [before, after] = [await drawn(base, list), await drawn(tuned, list)].map((pictures) =>
      pictures.map((picture, i) => distance(picture, own[i])),
    )
    const nearer = after.filter((d, i) => d < before[i]).length
    const mean = (all: readonly number[]): string => (all.reduce((sum, d) => sum + d, 0) / all.length).toFixed(4)
    console.log(
      `${list.length} things it was ${what}: distance to their picture in the style ${mean(before)} by the model, ${mean(after)} with the LoRA; nearer in ${((100 * nearer) / list.length).toFixed(0)} %`,
    )
  }
}

/** Root of the mean squared difference, in parts of 255. */
function distance(a: Float32Array, b: Float32Array): number {
  return Math.sqrt(a.reduce((sum, v, i) => sum + ((v - b[i]) / 255) ** 2, 0) / a.length)
}
