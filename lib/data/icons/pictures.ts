/** The pictures of a set that have a place in the pack, with what they show; the others counted by reason. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageFolder } from '../names.js'
import { type Concepts, type LeftOutReason, readIconify, type Subject, wrongPictures } from './concepts.js'
import type { IconSet } from './sets.js'

export interface IconPicture {
  set: IconSet
  subject: Subject
  /** Name in the set, for messages. */
  name: string
  /** SVG text or an encoded picture. */
  read(): Uint8Array
}

export type LeftOut = (set: IconSet, reason: LeftOutReason, name: string) => void

function* filesOf(set: IconSet, concepts: Concepts): Generator<[string, Subject | null, () => Uint8Array]> {
  const folder = join(packageFolder(set.package!, 'the icon data set'), 'assets')
  for (const file of readdirSync(folder).sort()) {
    const match = /^(.+)\.(webp|png)$/.exec(file)
    if (match) yield [match[1], concepts.byHexcode(match[1]), () => readFileSync(join(folder, file))]
  }
}

function* iconsOf(set: IconSet, concepts: Concepts): Generator<[string, Subject | null, () => Uint8Array]> {
  const { icons, aliases, chars, width, height } = readIconify(set.package!)
  const names = new Map<string, string[]>()
  for (const [alias, { parent }] of Object.entries(aliases)) names.set(parent, [...(names.get(parent) ?? []), alias])
  const codes = new Map<string, string[]>()
  for (const [code, name] of Object.entries(chars)) codes.set(name, [...(codes.get(name) ?? []), code])
  for (const name of Object.keys(icons).sort()) {
    const icon = icons[name]
    if (icon.hidden) continue
    const byCode = (codes.get(name) ?? []).map((code) => concepts.byHexcode(code))
    const candidates = [name, name.replace(/-\d+$/, ''), ...(names.get(name) ?? [])].map((n) => concepts.byName(n))
    const subject = [...byCode, ...candidates].find((found) => found !== null) ?? null
    yield [
      name,
      subject,
      () => {
        const [w, h] = [icon.width ?? width, icon.height ?? height]
        return Buffer.from(
          `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${w}" height="${h}" viewBox="${icon.left ?? 0} ${icon.top ?? 0} ${w} ${h}">${icon.body}</svg>`,
        )
      },
    ]
  }
}

function reasonAgainst(set: IconSet, name: string, subject: Subject | null): LeftOutReason | null {
  if (!subject) return /(?:light|medium|dark)(?:-skin-tone)?$/.test(name) ? 'tone' : 'unnamed'
  if (subject.tone && !set.tones) return 'tone'
  if (wrongPictures.has(`${set.id}: ${subject.label}`)) return 'wrong'
  const { leftOut } = subject.concept
  if (leftOut === 'gender') return set.genders && !subject.tone ? null : 'gender'
  return leftOut && subject.tone ? 'tone' : leftOut
}

export function picturesOf(set: IconSet, concepts: Concepts, leftOut: LeftOut): IconPicture[] {
  const pictures = new Map<string, IconPicture>()
  const source = set.kind === 'files' ? filesOf(set, concepts) : iconsOf(set, concepts)
  for (const [name, subject, read] of source) {
    const reason = reasonAgainst(set, name, subject)
    if (reason) leftOut(set, reason, name)
    else if (pictures.has(subject!.hexcode)) leftOut(set, 'twice', name)
    else pictures.set(subject!.hexcode, { set, subject: subject!, name, read })
  }
  return [...pictures.values()]
}
