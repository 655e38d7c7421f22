/** Type declarations of the native addon: its tensor handle, its device functions, and the ops family by family. */
import type { DType } from './dtype.js'
import type { AttentionOps } from './ops/attention.js'
import type { CommOps } from './ops/comm.js'
import type { ConvOps } from './ops/conv.js'
import type { ElementwiseOps } from './ops/elementwise.js'
import type { Int8Ops } from './ops/int8.js'
import type { IoOps } from './ops/io.js'
import type { LayoutOps } from './ops/layout.js'
import type { LossOps } from './ops/loss.js'
import type { MatmulOps } from './ops/matmul.js'
import type { NormOps } from './ops/norm.js'
import type { OptimOps } from './ops/optim.js'
import type { QuantizeOps } from './ops/quantize.js'
import type { RandomOps } from './ops/random.js'
import type { ReduceOps } from './ops/reduce.js'
import type { ResampleOps } from './ops/resample.js'
import type { RowOps } from './ops/rows.js'
import type { SamplingOps } from './ops/sampling.js'

export type { DType } from './dtype.js'

/** A handle that owns one reference to native memory. Handles that share storage are released one by one. */
export interface NativeTensor {
  shape(): number[]
  dtype(): DType
  device(): string
  /** Shares storage. */
  reshape(shape: readonly number[]): NativeTensor
  /** Rows [begin, end) of the first dimension; shares storage. */
  slice(begin: number, end: number): NativeTensor
  /** Another handle on the same memory. */
  alias(): NativeTensor
  /** True while another handle is on the same memory. */
  shared(): boolean
  /** A copy of the bytes on the host. */
  read(): ArrayBuffer
  /** Overwrites all bytes. */
  write(data: NodeJS.TypedArray): void
  release(): void
}

export interface DeviceInfo {
  name: string
  available: boolean
  /** What it is, or why it is not available. */
  detail: string
}

export interface MemoryStats {
  liveBytes: number
  liveBlocks: number
  peakBytes: number
  cachedBytes: number
}

interface DeviceOps {
  setErrorClass(errorClass: unknown): void
  /** Threads that a CPU op runs on, the calling one among them. */
  threadCount(): number
  /** Whether the CPU's products of bf16 are faster than those of f32: AMX, and AVX-512 BF16 of AMD's processors. */
  multipliesBf16(): boolean
  devices(): DeviceInfo[]
  /** Loads a backend from a shared library; gives the name of its device. */
  loadPlugin(path: string): string
  empty(shape: readonly number[], dtype: DType, device: string): NativeTensor
  /** Same shape; of other types on one device alone. */
  copy(to: NativeTensor, from: NativeTensor): void
  synchronize(device: string): void
  canCapture(device: string): boolean
  beginCapture(device: string): void
  /** The number of the graph; with `keep` false what was recorded is forgotten. */
  endCapture(device: string, keep: boolean): number
  launchGraph(device: string, graph: number): void
  destroyGraph(device: string, graph: number): void
  memory(device: string): MemoryStats
  resetPeakMemory(device: string): void
  trimMemory(device: string): void
}

export interface NativeAddon
  extends DeviceOps,
    AttentionOps,
    CommOps,
    ConvOps,
    ElementwiseOps,
    Int8Ops,
    IoOps,
    LayoutOps,
    LossOps,
    MatmulOps,
    NormOps,
    OptimOps,
    QuantizeOps,
    RandomOps,
    ReduceOps,
    ResampleOps,
    RowOps,
    SamplingOps {}
