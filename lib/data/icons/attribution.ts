/** Who made the pictures of the icon data set, and under which licences. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageFolder } from '../names.js'
import type { IconSet } from './sets.js'

const licences: Readonly<Record<string, string>> = {
  MIT: 'https://opensource.org/licenses/MIT',
  'Apache-2.0': 'https://www.apache.org/licenses/LICENSE-2.0',
  'CC-BY-4.0': 'https://creativecommons.org/licenses/by/4.0/',
}

const versionOf = (name: string): string =>
  JSON.parse(readFileSync(join(packageFolder(name, 'the icon data set'), 'package.json'), 'utf8')).version

const licenceOf = (name: string) => (licences[name] ? `[${name}](${licences[name]})` : name)

/** Markdown that lies beside the pack. @param counts pictures by style */
export function attributionOf(sets: readonly IconSet[], counts: Readonly<Record<string, number>>): string {
  const rows = sets.map(
    ({ title, author, source, license, package: name, style }) =>
      `| ${style} | [${title}](${source}) | ${author} | ${licenceOf(license)} | ${name ? `${name} ${versionOf(name)}` : '–'} | ${counts[style] ?? 0} |`,
  )
  return `# Attribution

The pictures of this pack are from these sets. They were drawn as pixels on white, cut to what can be seen and centred; nothing
else was changed. Names and keywords are from emojibase-data ${versionOf('emojibase-data')} (MIT, Miles Johnson), which has them
from Unicode's CLDR (Unicode License v3).

| style in captions | set | by | licence | npm package | pictures |
|---|---|---|---|---|---|
${rows.join('\n')}
`
}
