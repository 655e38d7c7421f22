/** A Chromium for tests of pages, where one is installed: Debian's package is `chromium`. */
import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

const program = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome'].find(
  (path) => path !== undefined && existsSync(path),
)

/** Why tests in a browser are skipped; false where they are not. */
export const noBrowser: string | false = program
  ? false
  : 'no Chromium was found (CHROMIUM, /usr/bin/chromium, /usr/bin/google-chrome): "apt-get install chromium", or name one in CHROMIUM'

export const launchBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: program, args: ['--no-sandbox'] })
