/**
 * The published packages on systems that have nothing but Node: roots of Debian 12 and 13 made by debootstrap, entered by chroot. What
 * is drawn there is the same file as on the machine that built the addon. Needs root, debootstrap and what scripts/prebuild makes.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../lib/native/index.js'
import { drawInRoot, found, program } from '../support/bare-root.js'
import { debianRoot } from '../support/debian-root.js'
import { publishRelease } from '../support/published-release.js'
import { skipUnless } from '../support/skip-unless.js'

const addon = join(packageRoot, 'prebuilds', 'linux-x64', 'star-t2i.node')
const skip = skipUnless([
  [process.getuid?.() === 0, 'root: chroot needs it'],
  [found('debootstrap'), 'debootstrap: apt-get install debootstrap'],
  [existsSync(addon), `${addon}: scripts/prebuild makes it`],
])

t.test('bare Debian 12 and 13', { skip }, async (t) => {
  const folder = t.testdir({ here: { 'package.json': '{ "private": true }', 'program.mjs': program } })
  const registry = await publishRelease(t, folder, { 'linux-x64': addon })

  const here = join(folder, 'here')
  await registry.npm(['install', 'star-t2i'], here)
  execFileSync(process.execPath, ['program.mjs'], { cwd: here })
  const expected = readFileSync(join(here, 'program.png'))
  for (const suite of ['bookworm', 'trixie']) {
    const root = debianRoot(suite)
    t.notOk(existsSync(join(root, 'usr/lib/x86_64-linux-gnu/libgomp.so.1')), `${suite} is bare`)
    const [byProgram, byCommand] = drawInRoot(root, registry.url)
    t.ok(byProgram.equals(expected), `${suite}: the program draws the same picture as here`)
    t.ok(byCommand.equals(expected), `${suite}: so does the command`)
  }
})
