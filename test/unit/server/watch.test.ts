import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { openRuns, report, serveRuns } from '../../../lib/server/index.js'
import type { RunData } from '../../../lib/server/runs/run-view.js'
import { addPictures, metricsLine, writeSampleRun } from '../../support/sample-run.js'

/** An address as it is written, which fetch would tidy up. */
const status = (address: string, path: string): Promise<number> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(address)
    get({ hostname, port, path }, (response) => resolve(response.resume().statusCode ?? 0)).on('error', reject)
  })

t.test('star watch serves page, curves, pictures and what comes later', async (t) => {
  const folder = t.testdir({ 'secret.png': 'secret' })
  const run = writeSampleRun(folder)
  const server = await serveRuns(openRuns([run]), { host: '127.0.0.1', port: 0, interval: 30 })
  t.teardown(() => server.close())

  const page = await fetch(server.address)
  t.equal(page.status, 200)
  t.match(page.headers.get('content-security-policy'), /default-src 'none'; script-src 'self'; style-src 'self';/)
  const html = await page.text()
  for (const [, name] of html.matchAll(/(?:src|href)="([^":]+)"/g)) {
    const file = await fetch(server.address + name)
    t.equal(file.status, 200, name)
    t.ok((await file.text()).length > 100, name)
  }

  const [data] = (await (await fetch(`${server.address}runs`)).json()) as RunData[]
  t.equal(data.totalSteps, 1000)
  t.equal(data.series.loss.steps.length, 20)
  t.same(data.series['val/loss'], { steps: [100], values: [5] })
  t.same(
    data.pictures.map(({ step, pictures }) => [step, pictures.map(({ prompt, scales }) => [prompt, scales])]),
    [50, 100].map((step) => [
      step,
      [
        ['café', null],
        ['red heart', 'red heart.scales.png'],
      ],
    ]),
  )

  const picture = await fetch(`${server.address}pictures/0/ep1_iter50/${encodeURIComponent('café.png')}`)
  t.ok(Buffer.from(await picture.arrayBuffer()).equals(readFileSync(join(run, 'val_imgs/ep1_iter50/café.png'))))

  for (const path of [
    '/pictures/0/ep1_iter50/..%2f..%2f..%2fsecret.png',
    '/pictures/0/..%2f../secret.png',
    '/pictures/0/ep1_iter50/../../../config.json',
    '/pictures/1/ep1_iter50/caf%C3%A9.png',
    '/pictures/__proto__/x/y.png',
    '/secret.png',
  ])
    t.equal(await status(server.address, path), 404, path)
  t.equal(await status(server.address, '/pictures/0/%ff/x.png'), 400)
  t.equal(await status(server.address, '//'), 404)
  t.equal(await status(server.address, '/?//'), 200)
  t.equal((await fetch(server.address, { method: 'POST' })).status, 405)

  const events = await fetch(`${server.address}events`)
  const reader = events.body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  const seen = async (pattern: RegExp): Promise<void> => {
    while (!pattern.test(text)) {
      const { value, done } = await reader.read()
      if (done) throw new Error(`ended before ${pattern}: ${text}`)
      text += value
    }
  }
  appendFileSync(join(run, 'metrics.jsonl'), `${metricsLine(210)}\n`)
  await seen(/"loss":\{"from":210,"steps":\[210\]/)
  addPictures(run, 150)
  await seen(/ep1_iter150/)
  t.pass('new points and pictures arrive')
  await server.close()
  await delay(10)
  await t.rejects(fetch(server.address), 'nothing listens after close')
})

t.test('star watch answers no other host and origin, and off this machine only with the key', async (t) => {
  const runs = openRuns([writeSampleRun(t.testdir({}))])
  const local = await serveRuns(runs, { host: '127.0.0.1', port: 0 })
  t.teardown(() => local.close())
  const { port } = new URL(local.address)
  const ask = (headers: Record<string, string>, path = '/runs'): Promise<number> =>
    new Promise((resolve, reject) => {
      get({ hostname: '127.0.0.1', port, path, headers }, (response) => resolve(response.resume().statusCode ?? 0)).on(
        'error',
        reject,
      )
    })
  t.equal(await ask({}), 200)
  t.equal(await ask({ host: `localhost:${port}` }), 200)
  t.equal(await ask({ host: 'evil.example' }), 403)
  t.equal(await ask({ host: '192.168.1.5' }), 403)
  t.equal(await ask({ origin: 'http://evil.example' }, '/events'), 403)
  await t.rejects(serveRuns(runs, { host: '0.0.0.0', port: 0 }), { code: 'ERR_ARGUMENT', message: /--api-key/ })
  const open = await serveRuns(runs, { host: '0.0.0.0', port: 0, apiKey: 'secret' })
  t.teardown(() => open.close())
  const address = `http://127.0.0.1:${new URL(open.address).port}/`
  const refused = await fetch(address)
  t.equal(refused.status, 401)
  t.match(refused.headers.get('www-authenticate'), /^Basic /, 'a browser asks for the password')
  const authorization = `Basic ${Buffer.from('anyone:secret').toString('base64')}`
  t.equal((await fetch(address, { headers: { authorization } })).status, 200)
})

t.test('a port that is taken, a folder without a run, a run given twice', async (t) => {
  const folder = t.testdir({ empty: {} })
  const runs = openRuns([writeSampleRun(folder)])
  const first = await serveRuns(runs, { host: '127.0.0.1', port: 0 })
  t.teardown(() => first.close())
  const port = Number(new URL(first.address).port)
  await t.rejects(serveRuns(runs, { host: '127.0.0.1', port }), { code: 'ERR_COMM', message: /choose another --port/ })
  t.throws(() => openRuns([join(folder, 'empty')]), { code: 'ERR_FILE', message: /no run folder/ })
  t.throws(() => openRuns([join(folder, 'run'), `${folder}/./run`]), { code: 'ERR_ARGUMENT', message: /given twice/ })
})

t.test('runs of the same name are distinguished by the folders above', async (t) => {
  const folder = t.testdir({})
  const runs = openRuns([
    writeSampleRun(join(folder, 'a')),
    writeSampleRun(join(folder, 'b')),
    writeSampleRun(folder, { name: 'c' }),
  ])
  t.same(
    runs.map(({ name }) => name),
    ['a/run', 'b/run', 'c'],
  )
})

t.test('a report is one file that holds everything', async (t) => {
  const folder = t.testdir({})
  const html = report(openRuns([writeSampleRun(folder)]))
  t.notMatch(html, /(?:src|href)="(?!data:)/, 'nothing is fetched')
  const json = /<script id="data" type="application\/json">(.*?)<\/script>/s.exec(html)
  const { runs, pictures } = JSON.parse(json![1]) as { runs: RunData[]; pictures: Record<string, string> }
  t.equal(runs[0].series.loss.steps.length, 20)
  t.same(runs[0].settings.find(([key]) => key === 'name')?.[1], '</script><b>run</b>', 'text stays text')
  const png = Buffer.from(pictures['0/ep1_iter50/café.png'].split(',')[1], 'base64')
  t.ok(png.equals(readFileSync(join(folder, 'run/val_imgs/ep1_iter50/café.png'))))
})

t.test('a run that has not logged yet, and a broken configuration', async (t) => {
  const run = join(t.testdir({}), 'new')
  mkdirSync(run)
  writeFileSync(join(run, 'config.json'), '{')
  t.match(openRuns([run])[0].data(), { kind: 'training', totalSteps: null, series: {}, pictures: [] })
})

t.test('a report of a run folder that holds the unexpected', async (t) => {
  const odd = (files: Record<string, unknown>) => report(openRuns([t.testdir(files as never)]))
  t.match(odd({ 'config.json': 'null' }), /<html/)
  t.match(odd({ 'config.json': '[1]' }), /<html/)
  t.match(odd({ 'config.json': `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}` }), /<html/)
  t.match(odd({ 'config.json': `{"a":[${'['.repeat(5000)}${']'.repeat(5000)}],"optimizer":null}` }), /<html/)
  t.match(odd({ 'config.json': '{}', val_imgs: 'a file' }), /<html/)
  t.throws(() => odd({ 'config.json': '{}', 'metrics.jsonl': {} }), {
    code: 'ERR_FILE',
    message: /metrics\.jsonl cannot be read: the path is a folder/,
  })
})
