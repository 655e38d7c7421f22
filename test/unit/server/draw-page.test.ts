/** The page that makes pictures, in a real Chromium. */
import { readFileSync } from 'node:fs'
import type { BrowserContextOptions, Page } from 'playwright-core'
import t from 'tap'
import { Star } from '../../../lib/index.js'
import { serveModels } from '../../../lib/server/index.js'
import { shippedModels } from '../../../lib/weights/index.js'
import { launchBrowser, noBrowser, serious } from '../../support/browser.js'
import { metric, post, until } from '../../support/draw-server.js'

t.test('the page in a browser', { skip: noBrowser }, async (t) => {
  const [model] = [...shippedModels().keys()].filter((name) => name !== 'minilm-l6')
  const server = await serveModels({ models: [model], host: '127.0.0.1', port: 0, load: { device: 'cpu' } })
  t.teardown(() => server.close())
  await server.ready
  const { address } = server
  const browser = await launchBrowser()
  t.teardown(() => browser.close())
  const faults: string[] = []
  const open = async (options: BrowserContextOptions = {}): Promise<Page> => {
    const context = await browser.newContext({
      viewport: { width: 1200, height: 800 },
      acceptDownloads: true,
      ...options,
    })
    const page = await context.newPage()
    page.on('pageerror', (error) => faults.push(error.message))
    page.on('console', (message) => message.type() === 'error' && faults.push(message.text()))
    await page.goto(address)
    await page.waitForSelector('#examples button')
    return page
  }
  const drawn = async (page: Page, count: number): Promise<void> => {
    await page
      .locator('.tile.done')
      .nth(count - 1)
      .waitFor()
    await page.locator('#cancel').waitFor({ state: 'hidden' })
  }

  await t.test('type, draw, watch the scales, find it again after a reload', async (t) => {
    const page = await open()
    // What the first tile shows, each time that it changes.
    await page.evaluate(`{
      const seen = (window.seen = [])
      new MutationObserver(() => {
        const image = document.querySelector('.tile img')
        if (image && image.src && seen.at(-1)?.src !== image.src) {
          const entry = { src: image.src, text: '' }
          seen.push(entry)
          const copy = new Image()
          copy.src = image.src
          copy.decode().then(() => {
            const canvas = document.createElement('canvas')
            canvas.width = copy.naturalWidth
            canvas.height = copy.naturalHeight
            canvas.getContext('2d').drawImage(copy, 0, 0)
            entry.text = canvas.toDataURL()
          })
        }
      }).observe(document.getElementById('results'), { subtree: true, childList: true, attributes: true, attributeFilter: ['src'] })
    }`)
    await page.fill('#prompt', 'a red heart')
    await page.fill('#count', '2')
    await page.press('#prompt', 'Enter')
    await drawn(page, 2)
    const seen = (await page.evaluate('window.seen')) as { text: string }[]
    t.ok(seen.length >= 4, `${seen.length} pictures in one place`)
    t.ok(new Set(seen.map(({ text }) => text).filter(Boolean)).size >= 3, 'at least three of them differ')
    t.match(await page.textContent('#status'), /^2 pictures in [\d.]+ s$/)
    t.equal(await page.locator('.kept').count(), 2)
    t.same(await serious(page), [], 'axe-core finds nothing serious')
    const [wide, room] = (await page.evaluate(
      '(({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth])(document.getElementById("form"))',
    )) as [number, number]
    t.ok(wide <= room, `the form is ${wide} pixels wide and has room for ${room}`)

    await page.reload()
    await page.locator('.kept').nth(1).waitFor()
    t.equal(await page.inputValue('#prompt'), 'a red heart', 'the form is as it was')
    await page.fill('#search', 'blue')
    await page.locator('#no-match').waitFor()
    await page.fill('#search', 'red heart')
    t.equal(await page.locator('.kept').count(), 2)

    await page.fill('#prompt', '')
    await page.press('#prompt', 'ArrowUp')
    t.equal(await page.inputValue('#prompt'), 'a red heart', 'earlier prompts come back')
    await page.context().close()
  })

  await t.test('the same picture again, from its file', async (t) => {
    const page = await open()
    const body = { prompt: 'a smiling cat', seed: 77, cfg: 2, top_k: 9, top_p: 0.4 }
    const answer = (await (await post(address, '/v1/images/generations', body)).json()) as {
      data: { b64_json: string }[]
    }
    const file = Buffer.from(answer.data[0].b64_json, 'base64')
    // A drop, as a browser makes it of a file.
    const transfer = await page.evaluateHandle(`{
      const bytes = Uint8Array.from(atob('${answer.data[0].b64_json}'), (c) => c.charCodeAt(0))
      const transfer = new DataTransfer()
      transfer.items.add(new File([bytes], 'cat.png', { type: 'image/png' }))
      transfer
    }`)
    await page.dispatchEvent('body', 'drop', { dataTransfer: transfer })
    await until('the prompt', async () => (await page.inputValue('#prompt')) === body.prompt)
    t.equal(await page.inputValue('#seed'), '77')
    t.equal(await page.getAttribute('#seed-lock', 'aria-pressed'), 'true')
    await page.click('#more summary')
    t.same(
      [
        await page.inputValue('#cfg-value'),
        await page.inputValue('#top-k-value'),
        await page.inputValue('#top-p-value'),
      ],
      ['2', '9', '0.4'],
    )
    await page.click('#draw')
    await drawn(page, 1)
    await page.click('.tile button')
    const downloading = page.waitForEvent('download')
    await page.selectOption('dialog select[aria-label="Download as"]', 'png')
    const download = await downloading
    t.equal(download.suggestedFilename(), 'a-smiling-cat-77.png')
    t.ok(readFileSync(await download.path()).equals(file), 'it is the same file')
    const second = page.waitForEvent('download')
    await page.selectOption('dialog select[aria-label="Download as"]', 'webp')
    t.match(await Star.settingsOf(await (await second).path()), { prompt: body.prompt, seed: 77 }, 'settings go along')
    await page.keyboard.press('Escape')

    await page.setInputFiles('#picture-file', { name: 'x.png', mimeType: 'image/png', buffer: Buffer.from('nothing') })
    await until('a message', async () => /no picture that can be read/.test((await page.textContent('#toast')) ?? ''))
    await page.context().close()
  })

  await t.test('another size, and back from its file', async (t) => {
    const page = await open()
    const sizes = (await page.evaluate(
      `[...document.querySelectorAll('#size option')].map(({ value }) => value)`,
    )) as string[]
    t.equal(sizes[0], '')
    const wide = sizes.find((text) => Number(text.split('x')[0]) > Number(text.split('x')[1]))!
    const [width, height] = wide.split('x').map(Number)
    await page.selectOption('#size', wide)
    await page.fill('#count', '1')
    await page.fill('#prompt', 'a red heart')
    await page.press('#prompt', 'Enter')
    await drawn(page, 1)
    const natural = '({ naturalWidth, naturalHeight }) => [naturalWidth, naturalHeight]'
    const shown = await page.evaluate(`(${natural})(document.querySelector('.tile img'))`)
    t.same(shown, [width, height])
    await page.click('.tile button')
    t.match(await page.locator('dialog dd').allTextContents(), [/heart/, /./, /./, `${width} × ${height}`])
    const downloading = page.waitForEvent('download')
    await page.selectOption('dialog select[aria-label="Download as"]', 'png')
    const file = await (await downloading).path()
    t.match(await Star.settingsOf(file), { size: { width, height } })
    await page.keyboard.press('Escape')
    await page.selectOption('#size', '')
    await page.setInputFiles('#picture-file', file)
    await until('the size', async () => (await page.inputValue('#size')) === wide)
    t.same(await serious(page), [])
    await page.context().close()
  })

  await t.test('a grid, two pictures compared, deletion and its undoing', async (t) => {
    const page = await open()
    await page.click('#more summary')
    await page.selectOption('#columns', 'guidance')
    await page.fill('#guidance-values', '0, 2')
    await page.fill('#prompt', 'a {red, green} heart')
    t.equal(await page.textContent('#grid-note'), 'A grid of 2 × 2 pictures')
    await page.press('#prompt', 'Enter')
    await drawn(page, 4)
    t.same(await page.locator('.grid tbody th').allTextContents(), ['a red heart', 'a green heart'])
    t.same(await page.locator('.grid thead th').allTextContents(), ['guidance 0', 'guidance 2'])
    t.same(await serious(page), [])
    await page.locator('.kept input').nth(0).check({ force: true })
    t.ok(await page.locator('#compare').isDisabled(), 'it takes two')
    await page.locator('.kept input').nth(3).check({ force: true })
    await page.click('#compare')
    t.equal(await page.locator('dialog img').count(), 2)
    t.ok((await page.locator('dialog tr.differs').count()) >= 1)
    t.same(await serious(page), [])
    await page.keyboard.press('Escape')
    await page.click('#delete')
    await until('two are gone', async () => (await page.locator('.kept').count()) === 2)
    await page.click('#toast button')
    await until('they are back', async () => (await page.locator('.kept').count()) === 4)
    await page.context().close()
  })

  await t.test('by keyboard alone, and cancelled', async (t) => {
    const page = await open()
    await page.locator('#prompt').focus()
    await page.keyboard.type('a woman astronaut')
    for (const _ of [1, 2, 3, 4, 5]) {
      await page.keyboard.press('Tab')
      if ((await page.evaluate('document.activeElement.id')) === 'count') break
    }
    await page.keyboard.press('Control+A')
    await page.keyboard.type('32')
    // From within the page: on a busy machine all 32 may be done before a key of the test arrives there.
    await page.evaluate(`{
      const escape = () => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }))
      new MutationObserver((_, observer) => {
        if (!document.querySelector('.tile[data-share]')) return
        observer.disconnect()
        escape()
      }).observe(document.getElementById('results'), { subtree: true, childList: true, attributes: true })
    }`)
    await page.keyboard.press('Control+Enter')
    await until('it is cancelled', async () => /^Cancelled/.test((await page.textContent('#status')) ?? ''))
    await until('the server knows', async () => (await metric(address, 'star_requests_drawing')) === 0)
    t.ok((await page.locator('.tile.stopped').count()) > 0)
    await page.keyboard.press('/')
    await page.context().close()
  })

  await t.test('copied as a command, a program and a request', async (t) => {
    const page = await open({ permissions: ['clipboard-read', 'clipboard-write'] })
    await page.fill('#prompt', 'a cat\'s "hat"')
    await page.fill('#count', '1')
    await page.fill('#seed', '5')
    const copied = async (kind: string): Promise<string> => {
      await page.selectOption('#copy-as', kind)
      await page.locator('#toast.shown').waitFor()
      return (await page.evaluate('navigator.clipboard.readText()')) as string
    }
    t.match(await copied('cli'), /^npx star-t2i sample --model \S+ --seed 5 --cfg \S+ .* -- 'a cat'\\''s "hat"'$/)
    t.match(await copied('typescript'), /star\.generate\('a cat\\'s "hat"', \{ seed: 5, /)
    t.match(await copied('curl'), /^curl http:.*\/v1\/images\/generations \\\n/)
    await page.context().close()
  })

  await t.test('on a phone, in the dark', async (t) => {
    const page = await open({
      viewport: { width: 390, height: 844 },
      colorScheme: 'dark',
      hasTouch: true,
      isMobile: true,
    })
    t.same(await serious(page), [])
    await page.locator('#examples button').first().tap()
    await drawn(page, 4)
    const wide = (await page.evaluate('document.documentElement.scrollWidth')) as number
    t.ok(wide <= 390, `nothing is wider than the screen: ${wide}`)
    await page.locator('.tile button').first().tap()
    await page.locator('dialog').waitFor()
    t.same(await serious(page), [])
    await page.context().close()
  })

  await t.test('with an API key, which the browser asks for', async (t) => {
    const locked = await serveModels({
      models: [model],
      host: '127.0.0.1',
      port: 0,
      apiKey: 'se-cret',
      load: { device: 'cpu' },
    })
    t.teardown(() => locked.close())
    await locked.ready
    const context = await browser.newContext({ httpCredentials: { username: 'me', password: 'se-cret' } })
    const page = await context.newPage()
    await page.goto(locked.address)
    await page.locator('#examples button').first().click()
    await drawn(page, 1)
    t.match(await page.textContent('#status'), /pictures in/)
    await context.close()
  })

  await t.test('the API’s page', async (t) => {
    const page = await open()
    await page.goto(`${address}docs`)
    t.match(await page.locator('summary').allTextContents(), [/POST \/v1\/images\/generations/])
    t.same(await serious(page), [])
    await page.context().close()
  })
  t.same(
    faults.filter((text) => !/status of 400/.test(text)),
    [],
    'no fault in any page',
  )
})
