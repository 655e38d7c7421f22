/** Makes the pictures of the page in docs/pictures with the shipped model: `node dist/scripts/screenshots.js`. Needs a Chromium. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { BrowserContextOptions, Page } from 'playwright-core'
import sharp from 'sharp'
import { packageRoot } from '../lib/native/index.js'
import { serveModels } from '../lib/server/index.js'
import { launchBrowser } from '../test/support/browser.js'

const folder = join(packageRoot, 'docs', 'pictures')
mkdirSync(folder, { recursive: true })
const server = await serveModels({ models: ['emoji-64'], host: '127.0.0.1', port: 0 })
await server.ready
const browser = await launchBrowser()

async function open(options: BrowserContextOptions): Promise<Page> {
  const page = await (await browser.newContext(options)).newPage()
  await page.goto(server.address)
  await page.waitForSelector('#examples button')
  return page
}

async function draw(page: Page, prompt: string): Promise<void> {
  await page.fill('#prompt', prompt)
  await page.press('#prompt', 'Enter')
  await page.locator('#cancel').waitFor()
  await page.locator('#cancel').waitFor({ state: 'hidden' })
}

async function shoot(page: Page, name: string): Promise<void> {
  const file = join(folder, name)
  await sharp(await page.screenshot())
    .png({ palette: true, quality: 95, compressionLevel: 9 })
    .toFile(file)
  console.log(file)
}

const wide = await open({ viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1 })
await wide.fill('#seed', '1200')
for (const prompt of ['a smiling cat', 'a man detective', 'a woman astronaut', 'a {red, green, purple} heart'])
  await draw(wide, prompt)
await shoot(wide, 'serve.png')

await wide.fill('#count', '1')
await draw(wide, 'a smiling cat')
await wide.click('.tile button')
await wide.getByRole('button', { name: 'Change it' }).click()
const canvas = wide.locator('.painter canvas')
await canvas.waitFor()
const { x, y, width, height } = (await canvas.boundingBox())!
await wide.mouse.move(x + 0.3 * width, y + 0.3 * height)
await wide.mouse.down()
await wide.mouse.move(x + 0.7 * width, y + 0.4 * height, { steps: 8 })
await wide.mouse.up()
await wide.fill('#edit-prompt', 'a smiling cat with heart-eyes')
await shoot(wide, 'serve-edit.png')

const phone = await open({
  viewport: { width: 390, height: 720 },
  deviceScaleFactor: 2,
  colorScheme: 'dark',
  isMobile: true,
  hasTouch: true,
})
await phone.fill('#seed', '1200')
await draw(phone, 'a man detective')
// The way down to the pictures is a smooth one.
await phone.waitForTimeout(1000)
await shoot(phone, 'serve-phone.png')

await browser.close()
await server.close()
