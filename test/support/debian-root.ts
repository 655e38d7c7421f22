/** Roots of Debian that hold the required packages of a release, and this machine's Node with npm. Needs root and debootstrap. */
import { execFileSync } from 'node:child_process'
import { cpSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { keptRoot, writeCommand } from './bare-root.js'

/** The archive that this machine's apt is set up with. */
function archive(): string {
  const format = '$(LABEL) $(REPO_URI)'
  const lines = execFileSync('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'], {
    encoding: 'utf8',
  })
  const line = lines.split('\n').find((entry) => entry.startsWith('Debian '))
  if (!line) throw new Error('apt knows no Debian archive here: run apt-get update on a Debian system')
  return line.slice('Debian '.length)
}

function makeDebian(suite: string, root: string): void {
  execFileSync('debootstrap', ['--variant=minbase', suite, root, archive()], { stdio: ['ignore', 'ignore', 'inherit'] })
  // npm is a script beside Node's own libraries.
  const npm = dirname(dirname(realpathSync(execFileSync('which', ['npm'], { encoding: 'utf8' }).trim())))
  cpSync(process.execPath, join(root, 'usr', 'bin', 'node'))
  cpSync(npm, join(root, 'usr', 'lib', 'npm'), { recursive: true })
  for (const name of ['npm', 'npx']) writeCommand(root, name, `exec node /usr/lib/npm/bin/${name}-cli.js "$@"`)
}

/** Folder of the root of `suite`, made the first time. */
export const debianRoot = (suite: string): string => keptRoot(suite, (root) => makeDebian(suite, root))
