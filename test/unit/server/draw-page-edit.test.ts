/** The page that makes pictures, in a real Chromium: a mask that is painted, words that change a picture, LoRAs that are chosen. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BrowserContextOptions, Page } from 'playwright-core'
import sharp from 'sharp'
import t from 'tap'
import { Star } from '../../../lib/index.js'
import { serveModels } from '../../../lib/server/index.js'
import { launchBrowser, noBrowser, serious } from '../../support/browser.js'
import { until } from '../../support/draw-server.js'
import { writeTinyLora } from '../../support/tiny-lora.js'
import { writeTinyModel } from '../../support/tiny-model.js'

const [width, height] = [48, 32]

/** Keeps the fields of forms that a page sends, files in base64: Chromium tells nobody outside what they hold. */
const keepForms = `{
  const send = window.fetch
  const textOf = async (value) =>
    typeof value === 'string' ? value : { file: btoa(String.fromCharCode(...new Uint8Array(await value.arrayBuffer()))) }
  window.fetch = async (path, init) => {
    if (init?.body instanceof FormData) {
      const fields = {}
      for (const [name, value] of init.body) fields[name] = await textOf(value)
      window.sentForm = { path, fields }
    }
    return send(path, init)
  }
}`

t.test('the page in a browser', { skip: noBrowser }, async (t) => {
  const folder = t.testdir({ styles: {} })
  const model = join(folder, 'tiny')
  writeTinyModel(model)
  for (const [name, salt] of [
    ['bold', 1],
    ['calm', 50],
  ] as const)
    writeTinyLora(join(folder, 'styles', name), model, salt)
  const noise = Buffer.from(Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 73) % 251))
  const raw = { width, height, channels: 3 as const }
  const file = { name: 'given.png', mimeType: 'image/png', buffer: await sharp(noise, { raw }).png().toBuffer() }
  const server = await serveModels({
    ...{ models: [model], loras: [join(folder, 'styles')], host: '127.0.0.1', port: 0, load: { device: 'cpu' } },
  })
  t.teardown(() => server.close())
  await server.ready
  const browser = await launchBrowser()
  t.teardown(() => browser.close())
  const faults: string[] = []
  const open = async (options: BrowserContextOptions = {}): Promise<Page> => {
    const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options })
    const page = await context.newPage()
    await page.addInitScript(keepForms)
    page.on('pageerror', (error) => faults.push(error.message))
    page.on('console', (message) => message.type() === 'error' && faults.push(message.text()))
    await page.goto(server.address)
    await page.fill('#count', '1')
    return page
  }
  /** The pixels of a place in the mask, 0 where it is painted. */
  const alpha = async (mask: Buffer): Promise<(x: number, y: number) => number> => {
    const { data, info } = await sharp(mask).ensureAlpha().raw().toBuffer({ resolveWithObject: true })
    t.same([info.width, info.height], [width, height], 'of the picture’s size')
    return (x, y) => data[4 * (y * width + x) + 3]
  }
  /** Draws from the dialog, and gives the form that is sent. */
  const sent = async (page: Page, action = 'Draw this part'): Promise<Record<string, string | Buffer>> => {
    await page.getByRole('button', { name: action }).click()
    await page.locator('.tile.done').first().waitFor()
    const { path, fields } = (await page.evaluate('window.sentForm')) as {
      path: string
      fields: Record<string, string | { file: string }>
    }
    t.equal(path, '/v1/images/edits')
    return Object.fromEntries(
      Object.entries(fields).map(([name, value]) => [
        name,
        typeof value === 'string' ? value : Buffer.from(value.file, 'base64'),
      ]),
    )
  }

  await t.test('a part is painted with the mouse and drawn anew', async (t) => {
    const page = await open()
    await page.fill('#prompt', 'a cat')
    await page.fill('#seed', '5')
    await page.click('#edit-picture')
    t.same(await serious(page), [])
    t.ok(await page.getByRole('button', { name: 'Draw this part' }).isDisabled(), 'there is no picture yet')
    await page.setInputFiles('dialog input[type=file]', file)
    const canvas = page.locator('.painter canvas')
    await canvas.waitFor()
    t.same(await serious(page), [])
    t.equal(await page.inputValue('#edit-prompt'), 'a cat', 'the prompt of the form')
    await page.fill('#edit-prompt', 'a dog')
    await page.getByRole('button', { name: 'Draw this part' }).click()
    t.match(await page.textContent('dialog [role=alert]'), /^Nothing is painted yet/)
    const box = (await canvas.boundingBox())!
    const at = (x: number, y: number): [number, number] => [
      box.x + (x / width) * box.width,
      box.y + (y / height) * box.height,
    ]
    // A brush of a fifth of 32 pixels from left to right, of which the end is erased again.
    await page.mouse.move(...at(10, 16))
    await page.mouse.down()
    await page.mouse.move(...at(38, 16), { steps: 5 })
    await page.mouse.up()
    await page.getByRole('button', { name: 'Erase' }).click()
    t.equal(await page.getByRole('button', { name: 'Erase' }).getAttribute('aria-pressed'), 'true')
    await page.mouse.move(...at(38, 16))
    await page.mouse.down()
    await page.mouse.move(...at(30, 16), { steps: 3 })
    await page.mouse.up()
    const form = await sent(page)
    t.match(form, { prompt: 'a dog', model: 'tiny', seed: '5', n: '1', stream: 'true' })
    t.notOk('size' in form)
    t.ok((form.image as Buffer).equals(file.buffer), 'the picture as it was given')
    const opaque = await alpha(form.mask as Buffer)
    t.same([opaque(12, 16), opaque(20, 16), opaque(20, 14)], [0, 0, 0], 'painted')
    t.same([opaque(37, 16), opaque(20, 24), opaque(2, 16), opaque(47, 31)], [255, 255, 255, 255], 'not, or erased')

    await page.click('.tile button')
    const [chosen] = await Promise.all([
      page.waitForEvent('download'),
      page.selectOption('dialog select[aria-label="Download as"]', 'png'),
    ])
    const drawn = await chosen.path()
    t.match(await Star.settingsOf(drawn), { prompt: 'a dog', edited: { by: 'edit' } })
    const { data, info } = await sharp(drawn).raw().toBuffer({ resolveWithObject: true })
    t.same([info.width, info.height], [width, height])
    const rows = (pixels: Buffer, from: number, to: number): Buffer => pixels.subarray(from * width * 3, to * width * 3)
    t.ok(rows(data, 24, 32).equals(rows(noise, 24, 32)), 'what was not painted is as it was')
    t.notOk(rows(data, 14, 18).equals(rows(noise, 14, 18)))
    t.notOk(await page.locator('dialog select[aria-label="Copy as"]').isVisible(), 'it takes more than its settings')
    // And on with the picture that came out.
    await page.getByRole('button', { name: 'Change it' }).click()
    await page.locator('.painter canvas').waitFor()
    t.equal(await page.inputValue('#edit-prompt'), 'a dog')
    await page.keyboard.press('Escape')
    await page.context().close()
  })

  await t.test('by keyboard, from a picture that is dropped', async (t) => {
    const page = await open()
    await page.locator('#edit-picture').focus()
    await page.keyboard.press('Enter')
    const transfer = await page.evaluateHandle(`{
      const bytes = Uint8Array.from(atob('${file.buffer.toString('base64')}'), (c) => c.charCodeAt(0))
      const transfer = new DataTransfer()
      transfer.items.add(new File([bytes], 'given.png', { type: 'image/png' }))
      transfer
    }`)
    await page.dispatchEvent('dialog', 'drop', { dataTransfer: transfer })
    const canvas = page.locator('.painter canvas')
    await canvas.waitFor()
    await until('the focus', async () => (await page.evaluate('document.activeElement.tagName')) === 'CANVAS')
    // From the middle to the left.
    await page.keyboard.down(' ')
    for (let i = 0; i < 6; i++) await page.keyboard.press('ArrowLeft')
    await page.keyboard.up(' ')
    await page.keyboard.press('ArrowUp')
    await page.keyboard.press('Tab')
    const reached: string[] = []
    for (let i = 0; i < 8 && !reached.includes('edit-prompt'); i++) {
      reached.push((await page.evaluate('document.activeElement.id || document.activeElement.textContent')) as string)
      await page.keyboard.press('Tab')
    }
    for (const name of ['brush-size', 'Erase', 'Clear', 'edit-prompt']) t.ok(reached.includes(name), name)
    await page.locator('#brush-size').focus()
    const before = Number(await page.inputValue('#brush-size'))
    for (let i = 0; i < 5; i++) await page.keyboard.press('ArrowRight')
    t.equal(Number(await page.inputValue('#brush-size')), before + 5)
    await page.fill('#edit-prompt', 'a dog')
    const opaque = await alpha((await sent(page)).mask as Buffer)
    t.same([opaque(23, 16), opaque(18, 16), opaque(34, 16), opaque(24, 4)], [0, 0, 255, 255])

    await page.click('#edit-picture')
    await page.setInputFiles('dialog input[type=file]', file)
    await canvas.waitFor()
    await page.keyboard.press(' ')
    await page.getByRole('button', { name: 'Clear' }).click()
    await page.fill('#edit-prompt', 'a dog')
    await page.keyboard.press('Enter')
    t.match(await page.textContent('dialog [role=alert]'), /^Nothing is painted yet/, 'it is cleared')
    await page.setInputFiles('dialog input[type=file]', { ...file, buffer: Buffer.from('nothing') })
    await until('a message', async () => /no picture/.test((await page.textContent('dialog [role=alert]')) ?? ''))
    await page.context().close()
  })

  await t.test('with a finger, on a phone in the dark', async (t) => {
    const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }
    const page = await open({ ...phone, colorScheme: 'dark' })
    await page.locator('#edit-picture').tap()
    await page.setInputFiles('dialog input[type=file]', file)
    const canvas = page.locator('.painter canvas')
    await canvas.waitFor()
    t.same(await serious(page), [])
    const wide = (await page.evaluate('document.documentElement.scrollWidth')) as number
    t.ok(wide <= 390, `nothing is wider than the screen: ${wide}`)
    await canvas.tap()
    await page.fill('#edit-prompt', 'a dog')
    const opaque = await alpha((await sent(page)).mask as Buffer)
    t.same([opaque(24, 16), opaque(4, 16)], [0, 255])
    await page.context().close()
  })

  await t.test('words change a picture that was drawn before', async (t) => {
    const page = await open({ permissions: ['clipboard-read', 'clipboard-write'] })
    await page.fill('#prompt', 'a red cat')
    await page.fill('#seed', '5')
    await page.click('#draw')
    await page.locator('.tile.done').waitFor()
    await page.click('.tile button')
    await page.getByRole('button', { name: 'Change it' }).click()
    await page.locator('.painter canvas').waitFor()
    // With keys alone: to the button, and on to what it shows.
    await page.getByRole('button', { name: 'Say it in words' }).focus()
    await page.keyboard.press('Enter')
    const pressed = (name: string) => page.getByRole('button', { name }).getAttribute('aria-pressed')
    t.same([await pressed('Say it in words'), await pressed('Paint a part')], ['true', 'false'])
    t.notOk(await page.locator('.painter canvas').isVisible())
    t.notOk(await page.locator('#brush-size').isVisible())
    await until('the prompt of the file', async () => (await page.inputValue('#edit-from')) === 'a red cat')
    t.same(await serious(page), [])
    await page.fill('#edit-prompt', 'a green cat')
    await page.locator('#edit-prompt').focus()
    const reached: string[] = []
    for (let i = 0; i < 4; i++) {
      await page.keyboard.press('Tab')
      reached.push((await page.evaluate('document.activeElement.id || document.activeElement.textContent')) as string)
    }
    t.same(reached.slice(0, 3), ['edit-share', 'edit-strength', 'Change it'])
    await page.locator('#edit-share').focus()
    for (let i = 0; i < 9; i++) await page.keyboard.press('ArrowRight')
    await page.locator('#edit-strength').focus()
    await page.keyboard.press('End')
    t.same(await page.locator('dialog .value').allTextContents(), ['0.75', '1'])

    const copied = async (kind: string): Promise<string> => {
      await page.evaluate("navigator.clipboard.writeText('')")
      await page.getByLabel('Copy as').last().selectOption(kind)
      await until('the clipboard', async () => (await page.evaluate('navigator.clipboard.readText()')) !== '')
      return (await page.evaluate('navigator.clipboard.readText()')) as string
    }
    t.match(
      await copied('cli'),
      /^npx star-t2i edit --from 'a red cat' --to 'a green cat' --share 0\.75 --strength 1 --model \S+tiny --seed 5 .* -- picture\.png$/,
    )
    t.match(
      await copied('typescript'),
      /star\.edit\('picture\.png', \{ from: 'a red cat', to: 'a green cat', share: 0\.75, strength: 1, seed: 5,/,
    )
    const call = await copied('curl')
    t.ok(call.startsWith(`curl ${server.address}v1/images/edits \\\n`), call)
    for (const line of [
      `-F 'image=@"picture.png"'`,
      "--form-string 'from=a red cat'",
      "--form-string 'prompt=a green cat'",
      "--form-string 'share=0.75'",
      "--form-string 'strength=1'",
    ])
      t.ok(call.includes(line), line)

    const form = await sent(page, 'Change it')
    t.match(form, { from: 'a red cat', prompt: 'a green cat', share: '0.75', strength: '1', n: '1', seed: '5' })
    t.notOk('mask' in form)
    t.notOk('size' in form, 'it has the model’s size, as the picture')
    await page.click('.tile button')
    const [chosen] = await Promise.all([
      page.waitForEvent('download'),
      page.selectOption('dialog select[aria-label="Download as"]', 'png'),
    ])
    const changed = await chosen.path()
    t.match(await Star.settingsOf(changed), {
      prompt: 'a green cat',
      edited: { by: 'edit', from: 'a red cat', share: 0.75, strength: 1 },
    })
    // A picture's prompt goes with it, and what somebody wrote stays.
    await page.keyboard.press('Escape')
    await page.click('#edit-picture')
    await page.getByRole('button', { name: 'Say it in words' }).click()
    const shows = async (picture: typeof file, text: string): Promise<void> => {
      await page.setInputFiles('dialog input[type=file]', picture)
      await until(text, async () => (await page.inputValue('#edit-from')) === text)
    }
    const known = { ...file, name: 'changed.png', buffer: readFileSync(changed) }
    await shows(known, 'a green cat')
    await shows(file, '')
    await page.fill('#edit-from', 'noise')
    const asked = page.waitForResponse((answer) => answer.url().endsWith('/v1/images/settings'))
    await page.setInputFiles('dialog input[type=file]', known)
    await (await asked).finished()
    t.equal(await page.inputValue('#edit-from'), 'noise')
    await page.context().close()
  })

  await t.test('words change a picture of elsewhere, on a phone in the dark', async (t) => {
    const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }
    const page = await open({ ...phone, colorScheme: 'dark' })
    await page.locator('#edit-picture').tap()
    await page.setInputFiles('dialog input[type=file]', file)
    await page.locator('.painter canvas').waitFor()
    await page.getByRole('button', { name: 'Say it in words' }).tap()
    t.same(await serious(page), [])
    const wide = (await page.evaluate('document.documentElement.scrollWidth')) as number
    t.ok(wide <= 390, `nothing is wider than the screen: ${wide}`)
    await page.fill('#edit-prompt', 'a dog')
    await page.getByRole('button', { name: 'Change it' }).tap()
    t.equal(await page.textContent('dialog [role=alert]'), 'Say what the picture shows now.')
    await page.fill('#edit-from', 'a cat')
    await page.getByRole('button', { name: 'Paint a part' }).tap()
    t.ok(await page.locator('.painter canvas').isVisible(), 'and back')
    await page.getByRole('button', { name: 'Say it in words' }).tap()
    t.match(await sent(page, 'Change it'), { from: 'a cat', prompt: 'a dog', share: '0.3', strength: '0.5' })
    await page.context().close()
  })

  await t.test('LoRAs are chosen, each with a strength, and come back from the file', async (t) => {
    const page = await open({ acceptDownloads: true, permissions: ['clipboard-read', 'clipboard-write'] })
    await page.click('#loras summary')
    t.same(await page.locator('#lora-list label').allTextContents(), [' bold', ' calm'])
    t.ok(await page.getByLabel('Strength of calm').isDisabled())
    await page.getByLabel('calm', { exact: true }).check()
    await page.getByLabel('Strength of calm').fill('0.6')
    t.same(await serious(page), [])
    await page.fill('#prompt', 'a cat')
    const asked = page.waitForRequest((one) => one.url().endsWith('/v1/images/generations'))
    await page.click('#draw')
    t.match(JSON.parse((await asked).postData()!), { lora: [{ name: 'calm', strength: 0.6 }] })
    await page.locator('.tile.done').waitFor()
    await page.selectOption('#copy-as', 'cli')
    await page.locator('#toast.shown').waitFor()
    t.match(await page.evaluate('navigator.clipboard.readText()'), /--lora \S+styles\/calm:0\.6 /)
    await page.click('.tile button')
    t.match(await page.locator('dialog dd').allTextContents(), /calm at 0\.6/)
    const downloading = page.waitForEvent('download')
    await page.selectOption('dialog select[aria-label="Download as"]', 'png')
    const drawn = await (await downloading).path()
    t.match((await Star.settingsOf(drawn)).lora, [{ path: join(folder, 'styles', 'calm'), strength: 0.6 }])
    await page.keyboard.press('Escape')
    await page.getByLabel('calm', { exact: true }).uncheck()
    await page.getByLabel('bold', { exact: true }).check()
    const buffer = readFileSync(drawn)
    await page.setInputFiles('#picture-file', { name: 'calm.png', mimeType: 'image/png', buffer })
    await until('the LoRA', () => page.getByLabel('calm', { exact: true }).isChecked())
    t.notOk(await page.getByLabel('bold', { exact: true }).isChecked())
    await page.reload()
    await until('it is remembered', () => page.getByLabel('calm', { exact: true }).isChecked())
    t.equal(await page.getByLabel('Strength of calm').inputValue(), '0.6')
    await page.context().close()
  })
  // The server refuses to say how a picture was made that was not drawn here.
  t.same(
    faults.filter((text) => !/status of 400/.test(text)),
    [],
    'no fault in any page',
  )
})
