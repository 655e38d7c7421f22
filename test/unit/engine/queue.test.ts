import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import type { Drawing, DrawingModel, DrawOptions } from '../../../lib/engine/drawing-model.js'
import { type CallOptions, DrawQueue } from '../../../lib/engine/queue.js'
import { StarError } from '../../../lib/native/error.js'
import { samplingSettings } from '../../../lib/sampling/index.js'

/** A model whose pictures are their seeds, and which draws when it is told to. */
class TestModel implements Pick<DrawingModel, 'draw'> {
  /** Prompts of each batch so far. */
  readonly batches: string[] = []
  aborted = 0
  scales = 1
  fail: ((drawings: readonly Drawing[]) => Error | null) | null = null

  async draw(drawings: readonly Drawing[], { onScale, signal }: DrawOptions): Promise<Uint8Array[]> {
    this.batches.push(drawings.map(({ prompt, seed }) => `${prompt}${seed}`).join(' '))
    const pixels = drawings.map(({ seed }) => Uint8Array.of(seed))
    for (let k = 0; k < this.scales; k++) {
      await setTimeout(2)
      if (signal.aborted) {
        this.aborted++
        throw new StarError('ERR_ABORTED', 'stopped')
      }
      await onScale?.({ scaleIndex: k, scales: this.scales, preview: async () => pixels })
    }
    const error = this.fail?.(drawings)
    if (error) throw error
    return pixels
  }
}

const settings = samplingSettings()
const options: CallOptions = { settings, batchSize: 8, priority: 0 }
const named = (prompt: string, count = 1): Drawing[] => Array.from({ length: count }, (_, seed) => ({ prompt, seed }))

/** Seeds of the pictures that a call gives. */
async function all(queue: DrawQueue, drawings: Drawing[], more: Partial<CallOptions> = {}): Promise<number[]> {
  const seeds: number[] = []
  for await (const pixels of queue.draw(drawings, { ...options, ...more })) seeds.push(pixels[0])
  return seeds
}

function make(maxWaiting = 100): { model: TestModel; queue: DrawQueue } {
  const model = new TestModel()
  return { model, queue: new DrawQueue(model, maxWaiting) }
}

t.test('waiting calls of the same settings are drawn together, in their order', async (t) => {
  const { model, queue } = make()
  const first = all(queue, named('a', 2))
  await setTimeout(1)
  const waiting = [
    all(queue, named('b')),
    all(queue, named('c', 3)),
    all(queue, named('d'), { settings: { ...settings, topK: 7 } }),
    all(queue, named('e', 6)),
    all(queue, named('f'), { settings: { ...settings, seed: 99 } }),
  ]
  t.same(await first, [0, 1])
  t.same(await Promise.all(waiting), [[0], [0, 1, 2], [0], [0, 1, 2, 3, 4, 5], [0]])
  t.same(model.batches, ['a0 a1', 'b0 c0 c1 c2 e0 e1 e2 e3', 'd0', 'e4 e5 f0'])
})

t.test('calls of one turn are drawn together, and batchSize holds for all in a batch', async (t) => {
  const { model, queue } = make()
  await Promise.all([all(queue, named('a')), all(queue, named('b', 3), { batchSize: 2 }), all(queue, named('c'))])
  t.same(model.batches, ['a0 b0', 'b1 b2', 'c0'])
})

t.test('the model is at work again before the pictures of a batch are looked at', async (t) => {
  const { model, queue } = make()
  const atWork: number[] = []
  for await (const _ of queue.draw(named('a', 4), { ...options, batchSize: 2 })) atWork.push(model.batches.length)
  t.same(atWork, [2, 2, 2, 2])
})

t.test('the highest priority comes first, also before the rest of a call at work', async (t) => {
  const { model, queue } = make()
  const long = all(queue, named('long', 6), { batchSize: 2 })
  await setTimeout(1)
  const low = all(queue, named('low'), { priority: -1 })
  const high = all(queue, named('high'), { priority: 1, batchSize: 1 })
  t.same(await Promise.all([long, low, high]), [[0, 1, 2, 3, 4, 5], [0], [0]])
  t.same(model.batches, ['long0 long1', 'high0', 'long2 long3', 'long4 long5', 'low0'])
})

t.test('a call is told once when the model begins with it, and fails alone where that throws', async (t) => {
  const { queue } = make()
  const told: string[] = []
  const tells = (name: string) => ({ onStart: () => void told.push(name), batchSize: 2 })
  const first = all(queue, named('a', 4), tells('a'))
  await setTimeout(1)
  const second = all(queue, named('b'), { ...tells('b'), settings: { ...settings, topK: 7 } })
  const bad = all(queue, named('c'), {
    settings: { ...settings, topK: 7 },
    onStart: () => {
      throw new RangeError('mine')
    },
  })
  t.same(told, ['a'], 'the others wait')
  await t.rejects(bad, { name: 'RangeError' })
  t.same(await Promise.all([first, second]), [[0, 1, 2, 3], [0]])
  t.same(told, ['a', 'b'])
})

t.test('a full queue refuses', async (t) => {
  const { queue } = make(1)
  const first = all(queue, named('a'))
  await setTimeout(1)
  const second = all(queue, named('b'))
  await t.rejects(all(queue, named('c')), { code: 'ERR_BUSY', message: /1 calls wait .* maxQueue is 1/ })
  const rest = all(queue, named('e'), { admitted: true })
  t.same(await Promise.all([first, second, rest]), [[0], [0], [0]], 'but not the rest of what was begun')
  t.same(await all(queue, named('d')), [0], 'there is room again')
  const none = make(0)
  t.same(await all(none.queue, named('a')), [0], 'a model at rest takes a call')
})

t.test('an abort ends a call at once, and a batch that nobody waits for', async (t) => {
  const { model, queue } = make()
  model.scales = 50
  const [own, other] = [new AbortController(), new AbortController()]
  const first = all(queue, named('a'), { signal: own.signal })
  const second = all(queue, named('b'), { signal: other.signal })
  const waiting = all(queue, named('c'), { settings: { ...settings, cfg: 1 } })
  await setTimeout(1)
  own.abort('mine')
  await t.rejects(first, { code: 'ERR_ABORTED', name: 'AbortError', cause: 'mine' })
  t.equal(model.aborted, 0, 'the other call of the batch goes on')
  other.abort()
  await t.rejects(second, { code: 'ERR_ABORTED' })
  model.scales = 1
  t.same(await waiting, [0])
  t.equal(model.aborted, 1)
  await t.rejects(all(queue, named('a'), { signal: own.signal }), { code: 'ERR_ABORTED' })
  t.same(model.batches, ['a0 b0', 'c0'])
})

t.test('a call is told of its own pictures, and one that throws fails alone', async (t) => {
  const { model, queue } = make()
  model.scales = 3
  const seen: unknown[] = []
  let late = async (): Promise<unknown> => null
  const good = all(queue, named('good', 2), {
    onScale: async ({ scaleIndex, images, preview }) => {
      seen.push([scaleIndex, images, (await preview()).map((pixels) => pixels[0])])
      late = preview
    },
  })
  const bad = all(queue, named('bad'), {
    onScale: () => {
      throw new RangeError('mine')
    },
  })
  await t.rejects(bad, { name: 'RangeError', message: 'mine' })
  t.same(await good, [0, 1])
  t.same(seen, [
    [0, [0, 1], [0, 1]],
    [1, [0, 1], [0, 1]],
    [2, [0, 1], [0, 1]],
  ])
  await t.rejects(late(), { code: 'ERR_ARGUMENT', message: /this scale is over/ })
})

t.test('what does not fit the memory together is drawn by itself', async (t) => {
  const { model, queue } = make()
  model.fail = (drawings) => (drawings.length > 2 ? new StarError('ERR_MEMORY', 'full') : null)
  const calls = [all(queue, named('a', 2)), all(queue, named('b')), all(queue, named('c', 3))]
  t.same(await calls[0], [0, 1])
  t.same(await calls[1], [0])
  await t.rejects(calls[2], { code: 'ERR_MEMORY' })
  t.same(model.batches, ['a0 a1 b0 c0 c1 c2', 'a0 a1', 'b0', 'c0 c1 c2'])
})

t.test('a reader that falls behind holds nobody up, and one that stops ends its call', async (t) => {
  const { model, queue } = make()
  const slow = queue.draw(named('slow', 100), options)
  t.equal((await slow.next()).value[0], 0)
  t.same(await all(queue, named('quick')), [0])
  await setTimeout(20)
  const ahead = model.batches.filter((batch) => batch.includes('slow')).length
  t.ok(ahead <= 3, `${ahead} batches are drawn ahead`)
  await slow.return(undefined)
  t.same(await all(queue, named('quick')), [0])
  t.ok(model.batches.length < 6)
})

t.test('closing ends all calls and waits for the model', async (t) => {
  const { model, queue } = make()
  model.scales = 100
  const calls = [all(queue, named('a')), all(queue, named('b'), { settings: { ...settings, cfg: 1 } })]
  const ends = calls.map((call) => t.rejects(call, { code: 'ERR_ABORTED', message: /disposed/ }))
  await setTimeout(5)
  await queue.close()
  t.equal(model.aborted, 1, 'the model is at rest')
  await Promise.all(ends)
  await t.rejects(all(queue, named('c')), { code: 'ERR_ABORTED' })
  t.same(model.batches, ['a0'])
})
