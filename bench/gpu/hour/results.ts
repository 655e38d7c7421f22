/** What bench/gpu/run has found out so far: results.json, written whole after each part, from which a later call goes on. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeFileAtomic } from '../../../lib/native/files.js'

/** A workload's time. */
export interface Timed {
  ms: number
  /** Of device memory, at most at once. */
  peakBytes: number
  parts: { part: string; ms: number }[]
}

/** Tests of a program. */
export interface Tested {
  passed: number
  skipped: number
  /** Names of those that failed. */
  failed: string[]
}

/** What star_gpu_bench prints of the card, and a line a case. */
export interface Kernels {
  card: { card: string; copy_gb_s: number; bf16_tflop_s: number; f32_tflop_s: number }
  cases: {
    case: string
    op: string
    dtype: string
    fields: Record<string, number | number[]>
    ms: number
    floor_ms: number
    percent: number
    bound: string
  }[]
}

/** Milliseconds of PyTorch's counterparts by case; null where there is none, or no room for it. */
export type Counterparts = Record<string, number | null>

export type Result = Timed | Tested | Kernels | Counterparts

export interface Outcome {
  /** `failed` is tried again by a later call, after what was not tried yet. */
  state: 'done' | 'failed' | 'left out'
  /** Why it failed or was left out, in one line. */
  reason?: string
  seconds: number
  result?: Result
}

export interface Results {
  device: string
  /** Whose expected times stand beside the measured ones. */
  card: string
  /** The GPU, in words; null until one was seen. */
  gpu: string | null
  /** By name, in the order of the table. */
  parts: Record<string, Outcome>
}

export const resultsFile = (folder: string): string => join(folder, 'results.json')

/** @throws Error where they are of another device or card, whose results must not be mixed */
export function readResults(folder: string, device: string, card: string): Results {
  const file = resultsFile(folder)
  if (!existsSync(file)) return { device, card, gpu: null, parts: {} }
  const results = JSON.parse(readFileSync(file, 'utf8')) as Results
  if (results.device !== device || results.card !== card)
    throw new Error(
      `${file} holds results of --device ${results.device} --card ${results.card}, not ${device} and ${card}: name another folder by --out`,
    )
  return results
}

export function writeResults(folder: string, results: Results, table: string): void {
  writeFileAtomic(resultsFile(folder), `${JSON.stringify(results, null, 1)}\n`)
  writeFileAtomic(join(folder, 'results.md'), table)
}
