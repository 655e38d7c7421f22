/** THIRD_PARTY.md names everything that is bundled or linked, under the licence it has, and nothing else. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'

const text = readFileSync(join(packageRoot, 'THIRD_PARTY.md'), 'utf8')

/** Rows of the table below a heading. */
function rows(heading: string): string[][] {
  const section = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? ''
  return [...section.matchAll(/^\| (.+) \|$/gm)].map(([, cells]) => cells.split(' | ')).slice(1)
}

interface LockEntry {
  license?: string
  dev?: boolean
}

t.test('every npm package that is installed with ours', async (t) => {
  const lock = JSON.parse(readFileSync(join(packageRoot, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, LockEntry>
  }
  const listed = rows('npm packages')
  t.ok(listed.length > 20)
  const used = new Set<string>()
  for (const [path, { license, dev }] of Object.entries(lock.packages)) {
    if (path === '' || dev) continue
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
    // `@img/sharp-*` stands for the builds of a package for each platform; the longest name that fits is meant.
    const row = listed
      .filter(([own]) => own === name || (own.endsWith('*') && name.startsWith(own.slice(0, -1))))
      .sort((a, b) => b[0].length - a[0].length)[0]
    if (!row) {
      t.fail(`${name} (${license}) is not listed`)
      continue
    }
    used.add(row[0])
    t.ok(row[1].split('; ').includes(license ?? 'none'), `${name}: ${license}`)
  }
  t.same(
    listed.map(([name]) => name).filter((name) => !used.has(name)),
    [],
    'nothing is listed that is not installed',
  )
})

t.test('every library that the addon asks the system for', async (t) => {
  const dynamic = execFileSync('readelf', ['-d', join(packageRoot, 'build', 'star.node')], { encoding: 'utf8' })
  const needed = [...dynamic.matchAll(/\(NEEDED\).*\[(.+?)\.so/g)].map(([, name]) => name)
  const listed = rows('Libraries that the native addon is linked to')
  t.same(listed.map(([name]) => name).sort(), needed.sort())
  for (const [name, , licence] of listed) t.match(licence, /^[A-Z][\w.-]+/, name)
})

t.test('every model', async (t) => {
  const listed = rows('Models and data').map(([name]) => name)
  t.same(
    listed.sort(),
    readdirSync(join(packageRoot, 'models'))
      .map((name) => `models/${name}`)
      .sort(),
  )
})
