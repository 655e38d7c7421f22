import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { Star, type StarGenerateOptions, type StarScaleEvent } from '../../../lib/index.js'
import { native, packageRoot } from '../../../lib/native/index.js'
import { Random } from '../../../lib/tensor/index.js'
import { tinyScales, writeTinyModel } from '../../support/tiny-model.js'

const folder = join(t.testdir(), 'tiny')
writeTinyModel(folder)

/** Runs a module in a process of its own, which must end by itself. */
function run(source: string): { stdout: string; stderr: string; status: number | null } {
  return spawnSync(process.execPath, ['--input-type=module', '-e', source], {
    cwd: packageRoot,
    encoding: 'utf8',
    timeout: 100_000,
  })
}

t.test('pictures and previews are the same in either thread', async (t) => {
  const draw = async (thread: 'worker' | 'main') => {
    await using star = await Star.load(folder, { thread, device: 'cpu' })
    const previews: unknown[] = []
    const onScale = async ({ preview, ...event }: StarScaleEvent) => {
      previews.push(event, await preview(), await preview())
    }
    const { images } = await star.generate(['a cat', 'a dog'], { seed: 3, onScale })
    const quiet = await star.generate(['a cat', 'a dog'], { seed: 3 })
    t.same(quiet.images, images, 'previews change nothing')
    t.equal(previews.length, 3 * tinyScales)
    t.same(previews.at(-1), images, 'the last preview is the picture')
    return { images, previews, info: star.info() }
  }
  t.same(await draw('worker'), await draw('main'))
})

t.test('the loop turns while a model loads and draws', async (t) => {
  let turns = 0
  let busy = true
  const turning = (async () => {
    for (; busy; turns++) await setImmediate()
  })()
  await using star = await Star.load(folder)
  const loading = turns
  await star.generate('a', { count: 64 })
  busy = false
  await turning
  // In this thread the loop would turn once a scale.
  t.ok(loading > 100, `${loading} turns while it loaded`)
  t.ok(turns - loading > 100, `${turns - loading} turns while it drew`)
})

t.test('errors come over with code, name and message', async (t) => {
  for (const thread of ['worker', 'main'] as const) {
    await t.rejects(Star.load('nothing', { thread }), { name: 'StarError', code: 'ERR_FILE', message: /nothing/ })
    await t.rejects(Star.load(folder, { thread, device: 'abacus' }), { code: 'ERR_DEVICE', message: /auto, cpu, cuda/ })
    const signal = AbortSignal.abort('mine')
    await t.rejects(Star.load(folder, { thread, signal }), { name: 'AbortError', code: 'ERR_ABORTED', cause: 'mine' })
  }
})

t.test('importing changes nothing, nothing is printed, and an idle model ends with its program', async (t) => {
  const { stdout, stderr, status } = run(`
    import sharp from 'sharp'
    import 'zod'
    const settings = () => JSON.stringify([sharp.concurrency(), sharp.cache().memory.max, Object.keys(globalThis), process.listenerCount('exit')])
    const before = settings()
    const { Star } = await import('./dist/lib/index.js')
    const notices = []
    const star = await Star.load(${JSON.stringify(folder)}, { onNotice: (notice) => notices.push(notice) })
    const { images } = await star.generate('a')
    await images[0].toBuffer('webp')
    if (settings() !== before) throw new Error(before + ' became ' + settings())
    if (star.device === 'cpu' && !/^running on the CPU, not on a GPU: /.test(notices.join())) throw new Error('no notice')
  `)
  t.match({ stdout, stderr, status }, { stdout: '', stderr: '', status: 0 })
})

t.test('a program that disposes too early or never waits leaves nothing hanging', async (t) => {
  const { stdout, stderr, status } = run(`
    import { Star } from './dist/lib/index.js'
    const star = await Star.load(${JSON.stringify(folder)}, { device: 'cpu' })
    const calls = Array.from({ length: 5 }, () => star.generate('a', { count: 50 }))
    const ends = Promise.allSettled(calls)
    await star.dispose()
    console.log((await ends).map((end) => end.reason.name + ' ' + end.reason.code).join())
  `)
  t.match(
    { stdout, stderr, status },
    { stdout: `${new Array(5).fill('AbortError ERR_ABORTED').join()}\n`, stderr: '', status: 0 },
  )
})

t.test('calls at random: nothing leaks, and results keep their order', async (t) => {
  const random = new Random(5)
  const chance = (below: number): number => random.integer(below)
  const rejections: unknown[] = []
  const note = (reason: unknown): void => void rejections.push(reason)
  process.on('unhandledRejection', note)
  const before = native.memory('cpu').liveBytes
  let [drawn, stopped] = [0, 0]
  for (let round = 0; round < 8; round++) {
    const star = await Star.load(folder, { device: 'cpu', thread: round % 4 === 3 ? 'main' : 'worker', maxQueue: 40 })
    const calls: Promise<void>[] = []
    const order: number[] = []
    for (let i = 0; i < 125; i++) {
      const controller = new AbortController()
      const count = 1 + chance(3)
      const options: StarGenerateOptions = { seed: i, count, signal: controller.signal, topK: 1 + chance(2) }
      if (chance(4) === 0) options.onScale = async ({ preview }) => void (await preview())
      if (chance(9) === 0)
        options.onScale = () => {
          throw new Error('mine')
        }
      const call = star.generate(['a', 'b'].slice(chance(2)), options).then(
        ({ images }) => {
          drawn++
          t.same(
            images.map(({ settings }) => settings.seed),
            images.map((_, j) => i + (j % count)),
          )
          order.push(i)
        },
        (error: Error & { code?: string }) => {
          stopped++
          if (error.message !== 'mine' && !/^ERR_(ABORTED|BUSY)$/.test(error.code ?? '')) throw error
        },
      )
      calls.push(call)
      if (chance(5) === 0) controller.abort()
      if (chance(20) === 0) await call
      if (chance(3) === 0) await setImmediate()
    }
    if (round % 2 === 0) await Promise.all(calls)
    await Promise.all([star.dispose(), ...calls])
    await t.rejects(star.generate('a'), { code: 'ERR_ARGUMENT' })
  }
  process.off('unhandledRejection', note)
  t.same(rejections, [])
  t.equal(native.memory('cpu').liveBytes, before)
  t.equal(drawn + stopped, 1000)
  t.ok(drawn > 200 && stopped > 200, `${drawn} drawn, ${stopped} stopped`)
})
