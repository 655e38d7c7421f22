/**
 * Progressive training of the VAR family: coarse scales alone at first, finer ones added evenly. As in the published
 * program, with s steps in all, w of them learning-rate warm-up and K scales: the finest scale trained at step g is
 *   a                                                  while g ≤ w,
 *   a + round((g − w)/(share·s − w)·(K − 1 − a))       in between, halves to even,
 *   K − 1                                              from share·s on,
 * with a the first stage's. The loss of a stage's finest scale is weighted min(n/warmupSteps, 1), at least 0.01, at the n-th
 * step of the stage; in the first stage and in the last one, which is as if training were not progressive, it counts fully.
 */
import type { ProgressiveConfig } from './tokens.js'

export interface ProgressiveOptions extends Pick<ProgressiveConfig, 'share' | 'firstScale' | 'warmupSteps'> {
  /** K */
  scales: number
  /** Steps of the run. */
  steps: number
  /** Steps of learning-rate warm-up. */
  learningRateWarmup: number
}

export interface Stage {
  /** Index of the finest scale trained. */
  finest: number
  /** Weight of that scale in the loss. */
  weight: number
}

const roundHalfToEven = (x: number): number => {
  const low = Math.floor(x)
  return x - low === 0.5 ? low + (low % 2) : Math.round(x)
}

function finestScale(step: number, o: ProgressiveOptions): number {
  const last = o.scales - 1
  const end = o.share * o.steps
  if (step <= o.learningRateWarmup) return o.firstScale
  if (step >= end) return last
  const progress = (step - o.learningRateWarmup) / (end - o.learningRateWarmup)
  return o.firstScale + roundHalfToEven(progress * (last - o.firstScale))
}

/** What is trained at a step, counted from 0. It follows from the step alone, so a resumed run continues as it was. */
export function stageAt(step: number, o: ProgressiveOptions): Stage {
  const finest = finestScale(step, o)
  if (finest === o.firstScale || finest === o.scales - 1) return { finest, weight: 1 }
  // The first step of the stage: finestScale never falls.
  let [before, begin] = [-1, step]
  while (begin - before > 1) {
    const middle = Math.floor((before + begin) / 2)
    if (finestScale(middle, o) < finest) before = middle
    else begin = middle
  }
  const warmup = o.warmupSteps ?? o.steps / 300
  return { finest, weight: Math.max(0.01, Math.min(1, (step - begin + 1) / warmup)) }
}
