/** `STAR_PROFILE=1`: every op of the addon is timed, and a table by op goes to stderr when the thread ends. */
import { writeSync } from 'node:fs'
import type { NativeAddon, NativeTensor } from './addon.js'

interface OpTime {
  calls: number
  ms: number
  /** Floating-point operations, 0 for ops that are not products. */
  operations: number
}

const isTensor = (value: unknown): value is NativeTensor =>
  typeof value === 'object' && value !== null && typeof (value as NativeTensor).shape === 'function'

const count = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1)

/**
 * Operations of the op `name`, of bytes too: two for each product of its definition, whatever algorithm computes it. Keys that limits or a mask
 * exclude from attention count as well. 0 for ops that are not products.
 */
export function operationsOf(name: string, args: readonly unknown[], result: unknown): number {
  const shapes = args.map((arg) => (isTensor(arg) ? arg.shape() : []))
  const [a, b] = shapes
  const out = isTensor(result) ? result.shape() : Array.isArray(result) && isTensor(result[0]) ? result[0].shape() : []
  switch (name) {
    case 'matmul':
      return 2 * count(out) * a.at(args[2] ? -2 : -1)!
    case 'matmulSum':
      return 2 * count(a) * out[1]
    case 'linear':
    case 'linearInt8':
      return 2 * count(a) * b[0]
    case 'linearBackwardInput':
    case 'linearBackwardWeight':
      return 2 * count(a) * b.at(-1)!
    case 'conv2d':
      return 2 * count(out) * count(b.slice(1))
    case 'conv2dBackwardData':
      return 2 * count(a) * count(b.slice(1))
    case 'conv2dBackwardWeight':
      return 2 * count(a) * count(out.slice(1))
    case 'attention':
      return 4 * count(a) * (args[5] as number)
    case 'attentionBackward': // scores again, and a product for each of dv, the scores' gradient, dq, dk
      return 10 * count(a) * shapes[4][1]
    default:
      return 0
  }
}

/** The table: ops by time, their share of all ops, and the rate of those that are products. */
export function profileTable(ops: ReadonlyMap<string, OpTime>, elapsedMs: number): string {
  const total = [...ops.values()].reduce((sum, { ms }) => sum + ms, 0)
  const rows = [...ops]
    .sort(([, x], [, y]) => y.ms - x.ms)
    .map(([name, { calls, ms, operations }]) => [
      name,
      String(calls),
      ms.toFixed(1),
      (ms / calls).toFixed(3),
      `${((100 * ms) / total).toFixed(1)} %`,
      operations > 0 ? (operations / ms / 1e6).toFixed(1) : '',
    ])
  const lines = [['op', 'calls', 'ms', 'ms a call', 'share', 'GFLOP/s'], ...rows]
  const widths = lines[0].map((_, i) => Math.max(...lines.map((line) => line[i].length)))
  const text = lines.map((line) =>
    line
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd(),
  )
  return `${text.join('\n')}\nops ${total.toFixed(0)} ms of ${elapsedMs.toFixed(0)} ms since the first\n`
}

/**
 * Replaces the ops of the addon by ones that are timed. Ops of a GPU are waited for, one by one; those that are recorded as a
 * graph, and the graph when it runs, are not counted.
 */
export function profileOps(addon: NativeAddon): void {
  const ops = new Map<string, OpTime>()
  const functions = addon as unknown as Record<string, (...args: unknown[]) => unknown>
  const synchronize = addon.synchronize
  let capturing = false
  let first = 0
  for (const [name, op] of Object.entries(functions)) {
    // Classes begin with a capital letter.
    if (typeof op !== 'function' || /^[A-Z]/.test(name)) continue
    functions[name] = (...args) => {
      const begin = performance.now()
      const result = op(...args)
      if (name === 'beginCapture') capturing = true
      else if (name === 'endCapture') capturing = false
      const tensor = args.find(isTensor)
      if (!tensor || capturing || result instanceof Promise) return result
      if (tensor.device() !== 'cpu') synchronize(tensor.device())
      first ||= begin
      const time = ops.get(name) ?? { calls: 0, ms: 0, operations: 0 }
      time.calls += 1
      time.ms += performance.now() - begin
      time.operations += operationsOf(name, args, result)
      ops.set(name, time)
      return result
    }
  }
  process.once('exit', () => {
    if (ops.size > 0) writeSync(2, profileTable(ops, performance.now() - first))
  })
}
