import t from 'tap'
import { NearestPictures, thumbnail } from '../../../lib/metrics/retrieval.js'

const at = (x: number): Float32Array => Float32Array.of(x, 0)

t.test('the rank of the own picture is the number of pictures that are nearer', async (t) => {
  const style = (id: number): string => (id % 2 ? 'odd' : 'even')
  const query = (x: number, own: number) => ({
    thumbnail: at(x),
    own: { thumbnail: at(own), id: own },
    style: style(own),
  })
  const search = new NearestPictures([query(3, 3), query(3.2, 3), query(2, 5), query(3, 5), query(9, 0)])
  for (let id = 0; id < 10; id++) search.show({ id, style: style(id) }, at(id))
  const found = search.found()
  // Own picture 5, query at 2: nearer than 3 are 0 to 4, two of which are odd.
  t.same(
    found.map(({ rank, rankInStyle }) => [rank, rankInStyle]),
    [
      [0, 0],
      [0, 0],
      [5, 2],
      [3, 1],
      [9, 4],
    ],
  )
  t.same(
    found[1].nearest.map(({ id }) => id),
    [3, 4, 2, 5, 1],
  )
  t.same(found[4].nearest[0], { id: 9, style: 'odd' })
})

t.test('a query without an own picture has neighbours and no rank', async (t) => {
  const search = new NearestPictures([{ thumbnail: at(0), own: null, style: null }])
  for (const id of [7, 2, 4]) search.show({ id, style: null }, at(id))
  t.same(search.found(), [{ rank: null, rankInStyle: null, nearest: [2, 4, 7].map((id) => ({ id, style: null })) }])
})

t.test('thumbnails average areas', async (t) => {
  const picture = Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (Math.floor(i / 3) % 2 === 0 ? 0 : 200))
  const small = thumbnail(picture, 64)
  t.equal(small.length, 32 * 32 * 3)
  t.ok(small.every((v) => Math.abs(v - 100) < 1e-3))
})
