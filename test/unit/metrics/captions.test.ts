import t from 'tap'
import { captionFigures, rareWords } from '../../../lib/metrics/captions.js'
import type { PackRecord } from '../../../lib/metrics/pack-pictures.js'
import type { Found } from '../../../lib/metrics/retrieval.js'

const record = (concept: string, style: string, more: Partial<PackRecord> = {}): PackRecord => ({
  caption: `a ${concept}, ${style}`,
  split: 'train',
  heldOutPair: false,
  style,
  concept,
  tags: [],
  ...more,
})
const records = [
  record('apple', '3D', { tags: ['fruit', 'red'] }),
  record('apple', 'flat', { tags: ['fruit', 'red'] }),
  record('pear', '3D', { tags: ['fruit'] }),
  record('pear', 'flat', { split: 'held-out', heldOutPair: true, tags: ['fruit'] }),
  record('dog', '3D', { split: 'held-out', tags: ['pet'] }),
]
const found = (rank: number | null, rankInStyle: number | null, nearest: number[]): Found => ({
  rank,
  rankInStyle,
  nearest: nearest.map((id) => ({ id, style: records[id].style })),
})

t.test('ranks, styles, pairs and words are counted', async (t) => {
  const all = [
    found(0, 0, [0, 1, 2]),
    found(6, 4, [2, 1, 0]),
    found(3, 0, [2, 1, 0]),
    // The held-out pair (pear, flat): a pear is second, the nearest is flat.
    found(2, 1, [1, 2, 3]),
    found(null, null, [2, 4, 1]),
    found(null, null, [4, 2, 3]),
  ]
  t.same(captionFigures(all, { records, captions: [0, 1, 2], pairs: [3], words: ['red', 'fruit'] }), {
    retrieval: { count: 3, top1: 1 / 3, top5: 2 / 3 },
    inStyle: { count: 3, top1: 2 / 3, top5: 1, style: 2 / 3 },
    byStyle: {
      '3D': { count: 2, top1: 1, top5: 1, style: 1 },
      flat: { count: 1, top1: 0, top5: 1, style: 0 },
    },
    words: { count: 2, top1: 0, top5: 1 },
    composition: { count: 1, concept1: 0, concept5: 1, style: 1 },
  })
})

t.test('what a pack does not say is null', async (t) => {
  const plain = records.map((one) => ({ ...one, style: null, concept: null, tags: [] }))
  const figures = captionFigures([{ rank: 0, rankInStyle: 0, nearest: [{ id: 0, style: null }] }], {
    records: plain,
    captions: [0],
    pairs: [],
    words: rareWords(plain),
  })
  t.same(figures, {
    retrieval: { count: 1, top1: 1, top5: 1 },
    inStyle: null,
    byStyle: {},
    words: null,
    composition: null,
  })
})

t.test('rare words are tags of at most five things that training has seen', async (t) => {
  t.same(rareWords(records), ['fruit', 'red'], '"pet" was not seen')
  const many = Array.from({ length: 6 }, (_, i) =>
    record(`thing ${i}`, '3D', { tags: ['all', i < 5 ? 'five' : 'one'] }),
  )
  t.same(rareWords(many), ['five', 'one'])
})
