/** A Chromium for tests of pages, where one is installed: Debian's package is `chromium`. */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type Browser, chromium, type Page } from 'playwright-core'

const program = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome'].find(
  (path) => path !== undefined && existsSync(path),
)

/** Why tests in a browser are skipped; false where they are not. */
export const noBrowser: string | false = program
  ? false
  : 'no Chromium was found (CHROMIUM, /usr/bin/chromium, /usr/bin/google-chrome): "apt-get install chromium", or name one in CHROMIUM'

export const launchBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: program, args: ['--no-sandbox'] })

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

interface Fault {
  id: string
  impact: string
  nodes: { html: string }[]
}

/** What axe-core finds on the page as it stands, of serious and critical impact. */
export async function serious(page: Page): Promise<string[]> {
  await page.evaluate(axe)
  const found = (await page.evaluate('axe.run().then(({ violations }) => violations)')) as Fault[]
  return found
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`)
}
