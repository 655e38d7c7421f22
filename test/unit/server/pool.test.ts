import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { parseCard } from '../../../lib/server/draw/card.js'
import { ModelPool } from '../../../lib/server/draw/pool.js'
import { until } from '../../support/draw-server.js'
import { writeTinyModel } from '../../support/tiny-model.js'

const load = { device: 'cpu' }

t.test('models are loaded once when they are asked for, and unloaded when nobody does', async (t) => {
  const folder = t.testdir({})
  const paths = ['a/model', 'b/model', 'b/other'].map((path) => join(folder, path))
  for (const path of paths) writeTinyModel(path)
  const pool = new ModelPool(paths, { load, idleUnload: 500 })
  t.teardown(() => pool.close())
  t.same(
    pool.models.map(({ id, state, info }) => [id, state, info?.imageSize]),
    [
      ['a', 'unloaded', 8],
      ['b', 'unloaded', 8],
      ['other', 'unloaded', 8],
    ],
  )
  const [a] = pool.models
  const stars = await Promise.all([1, 2, 3].map(() => pool.use(pool.find('a'), async (star) => star)))
  t.equal(new Set(stars).size, 1)
  t.equal(a.state, 'ready')
  const long = pool.use(a, async (star) => {
    await delay(3500)
    return (await star.generate('a')).images.length
  })
  t.equal(await long, 1, 'a model in use stays')
  await until('it is unloaded', () => a.state === 'unloaded')
  t.equal(await pool.use(a, async (star) => star.imageSize), 8, 'and comes back')
  t.throws(() => pool.find('model'), { message: /no model "model"; this server has a, b, other/ })
  t.equal(pool.find(undefined).id, 'a')
})

t.test('models that are not in use make room where memory is short', async (t) => {
  const folder = t.testdir({})
  const paths = ['a', 'b', 'c'].map((name) => join(folder, name))
  for (const path of paths) writeTinyModel(path)
  let free = Number.POSITIVE_INFINITY
  const pool = new ModelPool(paths, { load, idleUnload: 0, available: () => free })
  t.teardown(() => pool.close())
  const [a, b, c] = pool.models
  await pool.use(a, async () => {})
  await delay(5)
  await pool.use(b, async () => {})
  free = 0
  await pool.use(b, async () => {
    await pool.use(c, async () => {})
    t.equal(a.state, 'unloaded', 'the one that was not used for longest goes')
    t.equal(b.state, 'ready', 'one in use stays')
  })
})

t.test('a loading that takes long, or fails, is answered with 503 and continues', async (t) => {
  const folder = t.testdir({})
  const path = join(folder, 'a')
  writeTinyModel(path)
  const log: string[] = []
  const pool = new ModelPool([path], { load, idleUnload: 0, loadWait: 1, log: (line) => log.push(line) })
  t.teardown(() => pool.close())
  const [model] = pool.models
  await t.rejects(
    pool.use(model, async () => {}),
    { status: 503, code: 'model_loading', retryAfter: 5 },
  )
  await until('it is loaded', () => model.state === 'ready')
  t.equal(await pool.use(model, async (star) => star.imageSize), 8)
  t.match(log, [/^a is loaded \(cpu\)$/])
  t.throws(() => new ModelPool([join(folder, 'none')], { load, idleUnload: 0 }), { code: 'ERR_FILE' })
  const gone = new ModelPool([path], {
    load: { ...load, device: 'cuda:99' },
    idleUnload: 0,
    log: (line) => log.push(line),
  })
  t.teardown(() => gone.close())
  await t.rejects(
    gone.use(gone.models[0], async () => {}),
    { status: 503, code: 'model_unavailable', message: /log says why/ },
  )
  t.match(log[1], /^a cannot be loaded: /)
})

t.test('what a card says', (t) => {
  const card = `---\nlicense: mit\n---\n# name\n\nIt draws *emoji*,\nsee [the list](x).\n\n| a | b |\n\n## Examples\n\n- "a red apple"\n- \`a cat\`\n\n## Styles\n\n* 3D\n* flat\n\n## Data\n\n- none\n`
  t.same(parseCard(card), {
    about: 'It draws emoji, see the list.',
    examples: ['a red apple', 'a cat'],
    styles: ['3D', 'flat'],
  })
  t.same(parseCard(''), { about: '', examples: [], styles: [] })
  t.end()
})
