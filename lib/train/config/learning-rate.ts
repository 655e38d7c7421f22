/** Learning rate and weight decay of a run at a step. */
import { scheduled } from '../../optim/index.js'
import type { ResolvedOptimizer } from './resolve.js'

/** @param step counted from 0 */
export const scheduledAt = (config: ResolvedOptimizer, step: number): { lr: number; weightDecay: number } =>
  scheduled(config.schedule, {
    step,
    steps: config.steps,
    peak: config.learningRate,
    warmupSteps: config.warmupSteps,
    warmupStart: config.warmupStart,
    endRatio: config.endRatio,
    weightDecay: config.weightDecay,
    weightDecayEnd: config.weightDecayEnd ?? config.weightDecay,
  })
