import t from 'tap'
import { retrieval, thumbnail } from '../../../lib/metrics/retrieval.js'

t.test('a query counts when fewer than five others are nearer than its own picture', async (t) => {
  const references = Array.from({ length: 10 }, (_, i) => Float32Array.of(i, 0))
  const at = (x: number): Float32Array => Float32Array.of(x, 0)
  t.same(retrieval([at(3), at(3.2)], [3, 3], references), { count: 2, top1: 1, top5: 1 })
  // Own picture 5, query at 2: nearer are 0 (distance 2), 1, 2, 3, 4 – five of them.
  t.same(retrieval([at(2)], [5], references), { count: 1, top1: 0, top5: 0 })
  t.same(retrieval([at(3)], [5], references), { count: 1, top1: 0, top5: 1 })
})

t.test('thumbnails average areas', async (t) => {
  const picture = Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (Math.floor(i / 3) % 2 === 0 ? 0 : 200))
  const small = thumbnail(picture, 64)
  t.equal(small.length, 32 * 32 * 3)
  t.ok(small.every((v) => Math.abs(v - 100) < 1e-3))
})
