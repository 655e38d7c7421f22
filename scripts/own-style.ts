/**
 * The demonstration of docs/guides/own-style.md: pictures of a style that the model "emoji-64" does not know, prompts that it does,
 * and how many captions a model with a LoRA of them draws as it should.
 *
 *     node dist/scripts/own-style.js pictures ICONS EMOJI FOLDER [--style "flat icon"] [--count 40]
 *     node dist/scripts/own-style.js measure ICONS EMOJI [LORA] [--style "flat icon"] [--count 40]
 *
 * ICONS and EMOJI are the folders that "star data icons" and "star data emoji" have written. "pictures" writes the pictures with a
 * caption each, and FOLDER-prior.txt; LORA is the "model" folder of a run.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { findPacks, type ImageInfo, openPack, preprocessImage } from '../lib/data/index.js'
import { Star, StarError } from '../lib/index.js'
import { thumbnail } from '../lib/metrics/retrieval.js'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { style: { type: 'string', default: 'flat icon' }, count: { type: 'string', default: '40' } },
})
const [action, icons, emoji, target] = positionals
if (!emoji || !(action === 'measure' || (action === 'pictures' && target)))
  throw new StarError('ERR_ARGUMENT', 'usage: own-style pictures|measure ICONS EMOJI [FOLDER]')
const { style } = values

interface Picture {
  id: string
  caption: string
  png: Uint8Array
}

function picturesOf(folder: string, captionOf: (info: ImageInfo) => string | null): Picture[] {
  return findPacks([folder]).flatMap((path) => {
    const pack = openPack(path)
    const found = pack.keys.flatMap((key): Picture[] => {
      const caption = captionOf(pack.info(key))
      return caption === null ? [] : [{ id: key, caption, png: pack.image(key) }]
    })
    pack.close()
    return found
  })
}

/** `n` of a list, evenly spread, the first at `offset` of the way to the second. */
const spread = <T>(list: readonly T[], n: number, offset = 0): T[] =>
  Array.from({ length: n }, (_, i) => list[Math.floor(((i + offset) * list.length) / n)])

const inStyle = spread(
  picturesOf(icons, (info) =>
    info.style === style && info.split === 'train' ? `${info.caption_plain}, ${style}` : null,
  ),
  Number(values.count),
)
const known = picturesOf(emoji, ({ prompt, split }) => (split === 'train' ? String(prompt) : null))
const prior = spread(known, 200)

if (action === 'pictures') {
  mkdirSync(target, { recursive: true })
  for (const { id, caption, png } of inStyle) {
    writeFileSync(join(target, `${id}.png`), png)
    writeFileSync(join(target, `${id}.txt`), `${caption}\n`)
  }
  writeFileSync(`${target}-prior.txt`, prior.map(({ caption }) => `${caption}\n`).join(''))
} else {
  const chosen = new Set(prior)
  const others = known.filter((picture) => !chosen.has(picture))
  await using star = await Star.load('emoji-64', { device: 'cpu', lora: target ? [{ path: target }] : [] })
  const size = star.imageSize
  const references = await Promise.all(
    [...inStyle, ...known].map(async ({ caption, png }) => ({
      caption,
      picture: thumbnail(await preprocessImage(png, size), size),
    })),
  )
  for (const [what, list] of [
    ['captions in the style', inStyle],
    ['prompts of the prior', spread(prior, 100, 0.5)],
    ['other captions of the model', spread(others, 100)],
  ] as const) {
    const prompts = list.map(({ caption }) => caption)
    const { images } = await star.generate(prompts, { seed: 1 })
    const right = images.filter(({ data }, i) => {
      const drawn = thumbnail(data, size)
      const distances = references.map(({ picture }) => distance(drawn, picture))
      return references[distances.indexOf(Math.min(...distances))].caption === prompts[i]
    })
    console.log(
      `${what}: ${right.length} of ${list.length} give a picture nearest to their own of ${references.length}`,
    )
  }
}

function distance(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, v, i) => sum + (v - b[i]) ** 2, 0)
}
