/** What `npm run bench` makes of its times: a row for each case and precision of ours. */
import { type PeerMode, type Precision, peerModes, peersOf } from './cases.js'
import { median } from './overlap.js'

/** A side of a case: ours in a precision, or the peer in a mode. */
export interface Side {
  /** Milliseconds of each round. */
  ms: readonly number[]
  /** Of its outputs from the peer's in f32. */
  differs: Readonly<Record<string, number>>
}

/** What was measured of one case; the times of a round were taken in turns. */
export interface CaseTimes {
  case: string
  ours: ReadonlyMap<Precision, Side>
  peer: ReadonlyMap<PeerMode, Side>
}

/** One row, and what `--json` prints of it. */
export interface Row {
  case: string
  /** Of ours; `best`: the fastest of ours, against the fastest of all of the peer's. */
  precision: Precision | 'best'
  /** The precision of ours that is the fastest. */
  ours: Precision
  ours_ms: number
  /** The peer's fastest mode of the same precision or a higher one. */
  peer: PeerMode
  peer_ms: number
  /** peer_ms / ours_ms: above 1 we are faster. */
  ratio: number
  /** Medians of all measured modes of the peer. */
  peers: Partial<Record<PeerMode, number>>
  ours_differs: Readonly<Record<string, number>>
  peer_differs: Readonly<Record<string, number>>
}

/** The fastest of some sides, by their medians. */
const fastest = <K>(sides: Iterable<readonly [K, Side]>): readonly [K, Side] | undefined =>
  [...sides].sort(([, a], [, b]) => median(a.ms) - median(b.ms))[0]

/** The rows of a case: each precision of ours that has a peer among those measured, and the best of both where there are several. */
export function rowsOf({ case: name, ours, peer }: CaseTimes): Row[] {
  const peers = Object.fromEntries(Array.from(peer, ([mode, { ms }]) => [mode, median(ms)]))
  const row = (precision: Row['precision'], [mine, side]: readonly [Precision, Side], modes: readonly PeerMode[]) => {
    const best = fastest([...peer].filter(([mode]) => modes.includes(mode)))
    if (!best) return []
    const [mode, other] = best
    const [ours_ms, peer_ms] = [median(side.ms), median(other.ms)]
    return [
      {
        ...{ case: name, precision, ours: mine, ours_ms, peer: mode, peer_ms, ratio: peer_ms / ours_ms, peers },
        ...{ ours_differs: side.differs, peer_differs: other.differs },
      },
    ]
  }
  const each = [...ours].flatMap((entry) => row(entry[0], entry, peersOf(entry[0])))
  return ours.size > 1 ? [...each, ...row('best', fastest(ours)!, peerModes)] : each
}

/** The rows as a table of Markdown. */
export function tableOf(rows: readonly Row[], told: (found: Row['ours_differs']) => string): string {
  const cells = rows.map((row) => [
    row.case,
    row.precision === 'best' ? `best (${row.ours})` : row.precision,
    row.ours_ms.toFixed(1),
    row.peer,
    row.peer_ms.toFixed(1),
    row.ratio.toFixed(2),
    told(row.ours_differs),
    told(row.peer_differs),
  ])
  const head = ['case', 'ours', 'ms', 'PyTorch', 'ms', 'ratio', 'ours differs by', 'PyTorch differs by']
  const line = (row: readonly string[]): string => `| ${row.join(' | ')} |`
  return [line(head), line(['---', '---', '---:', '---', '---:', '---:', '---', '---']), ...cells.map(line)].join('\n')
}
