/**
 * Pictures of one style from the packs of "star data icons", as a user would have them: a folder of PNG files with a caption each
 * in a text file beside it, which names the style. Subjects that the model "emoji-64" knows are taken, spread over all there are.
 *
 *     node dist/scripts/style-pictures.js runs/data/icons "flat icon" my-style --count 40
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { findPacks, openPack } from '../lib/data/index.js'
import { StarError } from '../lib/index.js'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { count: { type: 'string', default: '40' } },
})
const [packs, style, out] = positionals
if (!out) throw new StarError('ERR_ARGUMENT', 'usage: style-pictures PACKS STYLE FOLDER [--count N]')

mkdirSync(out, { recursive: true })
for (const path of findPacks([packs])) {
  const pack = openPack(path)
  const infos = pack.keys.map((key) => ({ key, info: pack.info(key) }))
  const concepts = new Set(infos.flatMap(({ info }) => (info.style === '3D' ? [info.concept] : [])))
  const known = infos.filter(({ info }) => info.style === style && info.split === 'train' && concepts.has(info.concept))
  const step = known.length / Number(values.count)
  for (let i = 0; i < Number(values.count); i++) {
    const { key, info } = known[Math.floor(i * step)]
    writeFileSync(join(out, info.basename), pack.image(key))
    writeFileSync(join(out, info.basename.replace(/\.png$/, '.txt')), `${info.caption_plain}, ${style}\n`)
  }
  pack.close()
}
