/**
 * Learning-rate and weight-decay schedules of the reference implementation. The learning rate rises from `warmupStart` to the
 * peak over the warm-up, then follows the schedule's curve of the part p ∈ [0, 1] that is done since; the weight decay
 * goes from its first to its last value on half a cosine over all steps.
 */
import { StarError } from '../native/error.js'

export interface ScheduleOptions {
  /** From 0. */
  step: number
  steps: number
  peak: number
  warmupSteps: number
  /** Learning rate at step 0 and after the last step, as parts of the peak. */
  warmupStart: number
  endRatio: number
  weightDecay: number
  weightDecayEnd: number
}

/** 'linX' is any number X after "lin": a plateau that falls slowly over the first part X. */
export const schedulePattern = /^(cos|exp|lin(\d*\.?\d+)?)$/

/** Stays at 1 over the first part `flat`, then falls linearly to `end`. */
const plateau = (p: number, flat: number, end: number): number =>
  p < flat ? 1 : end + ((1 - end) * (1 - p)) / (1 - flat)

function curve(name: string, p: number, end: number): number {
  switch (name) {
    case 'cos':
      return end + (1 - end) * (0.5 + 0.5 * Math.cos(Math.PI * p))
    case 'lin':
      return plateau(p, 0.15, end)
    case 'lin0':
      return plateau(p, 0.05, end)
    case 'lin00':
      return end + (1 - end) * (1 - p)
    case 'exp':
      return p < 0.15 ? 1 : Math.exp(((p - 0.15) / 0.85) * Math.log(end))
    default: {
      const knee = Number(name.slice(3))
      const middle = (1 + end + (1 - end) * (1 - knee)) / 2
      return p < knee || knee >= 1 ? 1 + ((middle - 1) * p) / knee : end + ((middle - end) * (1 - p)) / (1 - knee)
    }
  }
}

/** Learning rate and weight decay at a step. @throws ERR_CONFIG for an unknown schedule */
export function scheduled(name: string, o: ScheduleOptions): { lr: number; weightDecay: number } {
  if (!schedulePattern.test(name))
    throw new StarError(
      'ERR_CONFIG',
      `unknown schedule "${name}": expected cos, exp, lin, lin0, lin00 or lin and a number between 0 and 1`,
    )
  const warmup = Math.round(o.warmupSteps)
  const ratio =
    o.step < warmup
      ? o.warmupStart + ((1 - o.warmupStart) * o.step) / warmup
      : curve(name, (o.step - warmup) / Math.max(1, o.steps - 1 - warmup), o.endRatio)
  const done = o.step / Math.max(1, o.steps - 1)
  const weightDecay = o.weightDecayEnd + (o.weightDecay - o.weightDecayEnd) * (0.5 + 0.5 * Math.cos(Math.PI * done))
  return { lr: o.peak * ratio, weightDecay }
}
