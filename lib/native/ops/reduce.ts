/** Types of the reduce ops (native/binding/reduce.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

export type ReduceName = 'sum' | 'sumSquares' | 'sumAbs' | 'max'

export interface ReduceOps {
  /** y[m] = scale · Σ over o and i of f(x[o, m, i]) with f the identity, square or magnitude, or the largest instead of the sum. */
  reduce(x: NativeTensor, op: ReduceName, outer: number, mid: number, inner: number, scale: number): NativeTensor
}
