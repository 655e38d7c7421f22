// The clock on paper, against sums done by hand.
import t, { type Test } from 'tap'
import { costliest, type DeviceRecord, opSeconds, partTime, type RecordedOp } from '../../../lib/plan/index.js'

const op = (given: Partial<RecordedOp>): RecordedOp => ({
  op: 'matmul',
  shape: '',
  dtype: 'bf16',
  calls: 1,
  operations: 0,
  bytes: 0,
  launches: 0,
  libraryCalls: 0,
  ...given,
})
const near = (t: Test, given: number, expected: number): void => {
  t.ok(Math.abs(given - expected) <= 1e-9 * expected, `${given}, expected ${expected}`)
}

t.test('an op takes what is longest of products, bytes and launches', async (t) => {
  // 989 TFLOP/s, of which products reach 65 %; 3.35 TB/s, of which 85 %; 5 µs from launch to launch.
  near(t, opSeconds(op({ operations: 989e12 * 0.65 }), 'h100', false), 1)
  near(t, opSeconds(op({ bytes: 3.35e12 * 0.85, operations: 1e12 }), 'h100', false), 1)
  near(t, opSeconds(op({ launches: 3, libraryCalls: 1 }), 'h100', false), 20e-6)
  near(t, opSeconds(op({ launches: 3, libraryCalls: 1 }), 'h100', true), 6e-6)
  // Without tensor cores.
  near(t, opSeconds(op({ dtype: 'f32', operations: 67e12 * 0.8 }), 'h100', false), 1)
  near(t, opSeconds(op({ op: 'attention', operations: 312e12 * 0.6 }), 'a100', false), 1)
  near(t, opSeconds(op({ op: 'conv2d', operations: 989e12 * 0.55 }), 'h200', false), 1)
})

t.test('a part is the sum of its ops, and of the waits of the host', async (t) => {
  const record: DeviceRecord = {
    ops: [
      op({ operations: 3e12, bytes: 1e9, launches: 1, libraryCalls: 2 }),
      op({ op: 'layer_norm', bytes: 3.35e9 * 0.85, launches: 4 }),
      op({ op: 'attention', dtype: 'f32', operations: 1e12 }),
    ],
    hostWaits: 2,
    graphLaunches: 0,
  }
  const part = partTime('forward', record, 'h100')
  t.match(part, { part: 'forward', operations: 4e12, tensorCores: 0.75, launches: 7, hostWaits: 2 })
  near(t, part.seconds, 3e12 / (989e12 * 0.65) + 1e-3 + 1e12 / (67e12 * 0.8) + 40e-6)
  t.same(
    costliest([record, record], 'h100').map(([name]) => name),
    ['attention f32', 'matmul bf16', 'layer_norm bf16'],
  )
})
