/** What a run computes in. */
import type { CommonConfig } from './common.js'

export type Precision = NonNullable<CommonConfig['precision']>

/** The precision of a run on `device`: what its configuration asks for, else bf16 on a GPU and f32 on the CPU. */
export const precisionOn = (precision: Precision | undefined, device: string): Precision =>
  precision ?? (device === 'cpu' ? 'f32' : 'bf16')
