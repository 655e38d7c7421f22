/** What `npm run bench` makes of its times and outputs, on figures that were made up. */
import t from 'tap'
import { differences, expectAgreement, toldDifferences } from '../../../bench/agreement.js'
import { benchCases, type PeerMode, type Precision, peersOf, precisionsOf } from '../../../bench/cases.js'
import { type CaseTimes, rowsOf, type Side, tableOf } from '../../../bench/table.js'

const side = (...ms: number[]): Side => ({ ms, differs: { image: ms[0] / 1000 } })

const times = (ours: [Precision, Side][], peer: [PeerMode, Side][]): CaseTimes => ({
  case: 'made-up',
  ours: new Map(ours),
  peer: new Map(peer),
})

const four: [PeerMode, Side][] = [
  ['f32', side(500, 480, 520)],
  ['f32-compiled', side(400, 900, 300)],
  ['bf16', side(200, 100, 300)],
  ['bf16-compiled', side(250)],
]

t.test('each precision stands against the fastest mode that is no coarser, by medians', async (t) => {
  const rows = rowsOf(
    times(
      [
        ['f32', side(100, 1000, 200)],
        ['bf16', side(100)],
        ['int8', side(125)],
      ],
      four,
    ),
  )
  t.strictSame(
    rows.map((row) => [row.precision, row.ours, row.ours_ms, row.peer, row.peer_ms, row.ratio]),
    [
      ['f32', 'f32', 200, 'f32-compiled', 400, 2],
      ['bf16', 'bf16', 100, 'bf16', 200, 2],
      ['int8', 'int8', 125, 'bf16', 200, 1.6],
      ['best', 'bf16', 100, 'bf16', 200, 2],
    ],
  )
  t.strictSame(rows[1].peers, { f32: 500, 'f32-compiled': 400, bf16: 200, 'bf16-compiled': 250 })
  t.strictSame([rows[3].ours_differs, rows[3].peer_differs], [{ image: 0.1 }, { image: 0.2 }])
})

t.test('f32 of the peer may be its fastest for ours in bf16; bf16 is none for f32', async (t) => {
  const peer: [PeerMode, Side][] = [
    ['f32', side(300)],
    ['bf16', side(400)],
  ]
  const rows = rowsOf(times([['bf16', side(100)]], peer))
  t.strictSame(
    rows.map(({ precision, peer }) => [precision, peer]),
    [['bf16', 'f32']],
  )
  t.strictSame(rowsOf(times([['f32', side(100)]], peer.slice(1))), [], 'nothing to compare with')
})

t.test('the table', async (t) => {
  const rows = rowsOf(times([['f32', side(100)]], four.slice(0, 1)))
  t.equal(
    tableOf(rows, toldDifferences).split('\n').at(-1),
    '| made-up | f32 | 100.0 | f32 | 500.0 | 5.00 | image 1.0e-1 | image 5.0e-1 |',
  )
})

t.test('outputs differ by their distance, tokens by the share of others', async (t) => {
  const found = differences(
    { logits: Float32Array.of(3, 4), tokens: Int32Array.of(1, 2, 3, 4) },
    { logits: Float32Array.of(3, 5), tokens: Int32Array.of(1, 2, 3, 900) },
  )
  t.match(found, { logits: Math.sqrt(1 / 34), tokens: 0.25 })
  t.equal(toldDifferences({ tokens: 0.25, image: 0.125 }), 'tokens 25.0 % others, image 1.3e-1')
  t.strictSame(differences({ logits: Float32Array.of(1) }, { logits: Float32Array.of(1, 2) }), { logits: Infinity })
  t.throws(() => expectAgreement('made-up', 'f32', { tokens: 0.01 }), {
    code: 'ERR_INTERNAL',
    message: /tokens in f32/,
  })
  t.throws(() => expectAgreement('made-up', 'bf16', { logits: 0.1 }), /logits in bf16 differs by 0.1/)
  t.throws(() => expectAgreement('made-up', 'bf16', { logits: Number.NaN }), /differs by NaN/)
  t.throws(
    () => expectAgreement('made-up', 'bf16', { image: Number.POSITIVE_INFINITY }),
    /image in bf16/,
    'another shape',
  )
  expectAgreement('made-up', 'bf16', { tokens: 0.9, image: 1 })
})

t.test('what runs in which precision', async (t) => {
  t.ok(benchCases.length >= 12)
  for (const bench of benchCases)
    t.equal(precisionsOf(bench).join(), { text: 'f32', generate: 'f32,bf16,int8' }[bench.kind as string] ?? 'f32,bf16')
  t.strictSame(peersOf('f32'), ['f32', 'f32-compiled'])
})
