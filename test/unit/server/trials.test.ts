/** A run's model is tried on the page of `star watch` while it is trained. */
import { join } from 'node:path'
import t from 'tap'
import { openRuns, serveRuns } from '../../../lib/server/index.js'
import { launchBrowser, noBrowser } from '../../support/browser.js'
import { post } from '../../support/draw-server.js'
import { writeSampleRun } from '../../support/sample-run.js'
import { runSteps, tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../../support/tiny-run.js'

t.test('the newest checkpoint of a run draws', async (t) => {
  const folder = t.testdir({})
  const pack = await writeTinyPack(folder)
  const tokenizer = join(folder, 'tokenizer')
  await runSteps(tinyTokenizerRun(tokenizer, pack, 2))
  const run = join(folder, 'drawing')
  const config = { ...tinyTransformerRun(run, pack, join(tokenizer, 'model'), 8), work: { logEvery: 1, saveEvery: 2 } }
  await runSteps(config, 2)
  const none = writeSampleRun(folder, { name: 'none' })
  const server = await serveRuns(openRuns([run, tokenizer, none]), { host: '127.0.0.1', port: 0 })
  t.teardown(() => server.close())
  const { address } = server
  const attempt = async (i: number): Promise<{ model?: string; error?: { message: string } }> =>
    (await (await fetch(new URL(`/runs/${i}/try`, address), { method: 'POST' })).json()) as never

  const { model } = await attempt(0)
  t.equal(model, 'drawing-step-2')
  const drawn = await post(address, '/v1/images/generations', { prompt: 'a red heart', model, seed: 1 })
  t.equal(drawn.status, 200)
  t.match(await drawn.json(), { model, size: '16x16', data: [{ seed: 1 }] })
  t.equal((await attempt(0)).model, model, 'the same checkpoint is written once')
  await runSteps(config, 2)
  t.equal((await attempt(0)).model, 'drawing-step-4', 'a later one is another model')
  t.match(await attempt(1), { error: { message: /a tokenizer draws nothing/ } })
  t.match(await attempt(2), { error: { message: /no checkpoint yet/ } })
  t.equal((await fetch(new URL('/runs/9/try', address), { method: 'POST' })).status, 404)
  t.equal(
    (await fetch(new URL('/runs/0/try', address), { method: 'POST', headers: { origin: 'http://evil.example' } }))
      .status,
    403,
  )

  await t.test('by one click', { skip: noBrowser }, async (t) => {
    const browser = await launchBrowser()
    t.teardown(() => browser.close())
    const page = await browser.newPage()
    await page.goto(address)
    await page.locator('#runs button').first().click()
    await page.waitForURL(/draw\?model=drawing-step-4/)
    await page.locator('#model option').nth(1).waitFor({ state: 'attached' })
    t.equal(await page.inputValue('#model'), 'drawing-step-4')
    await page.fill('#prompt', 'a red heart')
    await page.fill('#count', '1')
    await page.press('#prompt', 'Enter')
    await page.locator('.tile.done').waitFor()
    t.equal(await page.locator('.kept').count(), 1)
  })
})
