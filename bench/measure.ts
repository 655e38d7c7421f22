/** Measures one case: opens both sides, compares what they give, and times them in turns. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { scope } from '../lib/tensor/index.js'
import { readSafetensors } from '../lib/weights/index.js'
import { differences, expectAgreement, toldDifferences } from './agreement.js'
import type { BenchCase, PeerMode, Precision } from './cases.js'
import { type OurCase, type Outputs, openCase, time } from './ours.js'
import type { Peer } from './peer.js'
import type { CaseTimes, Side } from './table.js'

interface TimedSide extends Side {
  ms: number[]
  time(): Promise<number>
}

/** What the peer gave in a mode. */
async function outputsOf(peer: Peer, mode: PeerMode, file: string): Promise<Outputs> {
  await peer.check(mode, file)
  return scope(() => {
    const { tensors } = readSafetensors(file)
    return Object.fromEntries(
      Array.from(tensors, ([name, tensor]) => [name, tensor.data() as Float32Array | Int32Array]),
    )
  })
}

/** What of each side is measured. */
export interface Chosen {
  precisions: readonly Precision[]
  modes: readonly PeerMode[]
}

/** @throws ERR_INTERNAL where the sides do not agree */
export async function measure(
  bench: BenchCase,
  { precisions, modes }: Chosen,
  peer: Peer,
  rounds: number,
  log: (line: string) => void,
): Promise<CaseTimes> {
  const folder = mkdtempSync(join(tmpdir(), 'star-bench-'))
  const opened: OurCase[] = []
  const sides = { ours: new Map<Precision, TimedSide>(), peer: new Map<PeerMode, TimedSide>() }
  try {
    await peer.open(bench)
    const file = join(folder, 'peer.safetensors')
    const reference = await outputsOf(peer, 'f32', file)
    for (const precision of precisions) {
      const ours = openCase(bench, precision)
      opened.push(ours)
      const differs = differences(await ours.check(), reference)
      log(`${bench.name}: ours in ${precision} differs from PyTorch in f32 by: ${toldDifferences(differs)}`)
      expectAgreement(bench.name, precision, differs)
      sides.ours.set(precision, { ms: [], differs, time: () => time(ours) })
    }
    for (const mode of modes) {
      const differs = differences(await outputsOf(peer, mode, file), reference)
      log(`${bench.name}: PyTorch in ${mode} differs from f32 by: ${toldDifferences(differs)}`)
      sides.peer.set(mode, { ms: [], differs, time: () => peer.time(mode) })
    }
    const turns = [...sides.ours.values(), ...sides.peer.values()]
    // Round −1 warms up and is not counted.
    for (let round = -1; round < rounds; round++)
      for (const side of round % 2 === 0 ? turns : turns.toReversed()) {
        const ms = await side.time()
        if (round >= 0) side.ms.push(ms)
      }
    return { case: bench.name, ...sides }
  } finally {
    for (const ours of opened) ours.dispose()
    rmSync(folder, { recursive: true })
    await peer.close()
  }
}
