/** The page in a real Chromium. Skipped where none is installed: Debian's package is `chromium`. */
import { appendFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import type { Page } from 'playwright-core'
import t from 'tap'
import { openRuns, report, serveRuns } from '../../../lib/server/index.js'
import { launchBrowser, noBrowser } from '../../support/browser.js'
import { addPictures, metricsLine, writeSampleRun } from '../../support/sample-run.js'

/** Pixels of a chart's canvas that are not transparent. */
const painted = (page: Page, metric: string): Promise<number> =>
  page.evaluate((name) => {
    const scope = globalThis as unknown as { document: { querySelectorAll(q: string): Iterable<never> } }
    type Canvas = {
      width: number
      height: number
      getContext(kind: string): { getImageData(...box: number[]): { data: Uint8Array } }
    }
    type Figure = { querySelector(q: string): { textContent: string } & Canvas }
    const figure = [...scope.document.querySelectorAll('.charts figure')].find(
      (candidate: Figure) => candidate.querySelector('.metric').textContent === name,
    ) as unknown as Figure
    const canvas = figure.querySelector('canvas')
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    return data.filter((value, i) => i % 4 === 3 && value > 0).length
  }, metric)

/** Waits for what the page comes to; its own rules forbid playwright's way of doing that inside of it. */
async function until(what: string, reached: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 20_000; !(await reached()); await delay(20))
    if (Date.now() > end) throw new Error(`not seen within 20 s: ${what}`)
}

/** Whether all pictures that the selector names have loaded. */
const loaded = (page: Page, selector: string): Promise<boolean> =>
  page
    .locator(selector)
    .evaluateAll((images) => images.every((image) => (image as unknown as { naturalWidth: number }).naturalWidth > 0))

t.test('the page in a browser', { skip: noBrowser }, async (t) => {
  const folder = t.testdir({})
  const run = writeSampleRun(folder)
  const other = writeSampleRun(folder, { name: 'other', steps: 100 })
  const browser = await launchBrowser()
  t.teardown(() => browser.close())
  const open = async (address: string): Promise<{ page: Page; faults: string[] }> => {
    const page = await browser.newPage({ viewport: { width: 1000, height: 800 } })
    const faults: string[] = []
    page.on('pageerror', (error) => faults.push(error.message))
    page.on('console', (message) => message.type() === 'error' && faults.push(message.text()))
    await page.goto(address)
    await page.waitForSelector('.charts canvas')
    await until('all charts', async () => (await page.locator('.charts canvas').count()) >= 5)
    return { page, faults }
  }

  await t.test('live: curves, pictures, new points, hiding a run', async (t) => {
    const server = await serveRuns(openRuns([run, other]), { host: '127.0.0.1', port: 0, interval: 50 })
    t.teardown(() => server.close())
    const { page, faults } = await open(server.address)
    const metrics = await page.locator('.charts figure:not([hidden]) .metric').allTextContents()
    t.same(
      metrics,
      ['loss', 'loss, all scales', 'accuracy, all scales (%)', 'samples a second', 'learning rate', 'loss, scale 1'],
      'grouped, in order and in words; L10 is the same as Lm',
    )
    t.match(
      await page.locator('#runs .progress').first().textContent(),
      /step 200 of 1000 \(20 %\), .* since its start, about .* left/,
    )
    t.ok((await painted(page, 'loss')) > 500, 'lines are drawn')
    t.equal(await page.locator('#state').textContent(), 'live')

    const newest = page.locator('.charts figure').first().locator('.value')
    t.equal(await newest.count(), 4, 'two runs and their validations')
    appendFileSync(join(run, 'metrics.jsonl'), `${metricsLine(900)}\n`)
    await until('the new point', async () => (await newest.first().textContent()) === '0.8')
    addPictures(run, 200)
    const moment = page.locator('.moment output').first()
    await until('the new pictures', async () => (await moment.textContent())!.includes('step 200'))
    t.equal(await page.locator('.gallery').first().locator('img').count(), 2)
    await page.locator('.pictures button').nth(1).click()
    t.equal(await page.locator('dialog img').count(), 2, 'the picture and its scales')
    await until('both pictures', () => loaded(page, 'dialog img'))
    await page.locator('dialog button').click()

    await page.locator('#runs input').first().uncheck()
    await until('one run less', async () => (await newest.count()) === 2)
    await page.locator('#log').check()
    await page.locator('#smoothing').fill('0.9')
    t.ok((await painted(page, 'loss')) > 300, 'drawn on a logarithmic axis')
    t.same(faults, [])
  })

  await t.test('on a phone, and a run without pictures', async (t) => {
    const bare = writeSampleRun(folder, { name: 'bare', pictures: false })
    const server = await serveRuns(openRuns([bare]), { host: '127.0.0.1', port: 0, interval: 50 })
    t.teardown(() => server.close())
    const page = await browser.newPage({ viewport: { width: 390, height: 800 } })
    await page.goto(server.address)
    await page.waitForSelector('.charts canvas')
    t.same(
      await page
        .locator('main > details')
        .evaluateAll((parts) => parts.map((part) => (part as unknown as { open: boolean }).open)),
      [true, false, false, false],
      'sections below the overview are folded',
    )
    await page.locator('summary', { hasText: 'Pictures' }).click()
    t.match(await page.locator('.galleries').textContent(), 'The first sample pictures come at step 500.')
    t.ok(
      ((await page.evaluate('document.documentElement.scrollWidth')) as number) <= 390,
      'nothing is wider than the screen',
    )
  })

  await t.test('a report works without a server', async (t) => {
    const file = join(folder, 'report.html')
    writeFileSync(file, report(openRuns([run])))
    const { page, faults } = await open(pathToFileURL(file).href)
    t.ok((await painted(page, 'loss')) > 500)
    await until('all pictures', () => loaded(page, '.pictures img'))
    t.equal(await page.locator('#state').textContent(), '')
    t.same(faults, [])
  })
})
