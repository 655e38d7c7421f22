/** Validation: when it is due, and which result is the best so far. */

import type { Best, CheckpointState } from '../checkpoint/format.js'
import type { ResolvedWork } from '../config/resolve.js'
import type { RunSpec } from '../kinds/run-spec.js'
import type { Metrics } from '../kinds/task.js'

export class Validator {
  best: Best | null = null
  #epoch: number | null = null

  constructor(
    private readonly deciding: RunSpec['deciding'],
    private readonly every: ResolvedWork['validateEvery'],
  ) {}

  /** @param epoch of the last sample of the step; @param last whether the run ends with the step */
  due(step: number, epoch: number, last: boolean): boolean {
    const before = this.#epoch ?? epoch
    this.#epoch = epoch
    if (last) return true
    if (this.every === undefined) return epoch > before
    return this.every > 0 && count(step, this.every) > count(step - 1, this.every)
  }

  /** Takes a result up; true when it is better than all before. */
  take(step: number, metrics: Metrics): boolean {
    const { metric, more } = this.deciding
    const value = metrics[metric]
    if (value === undefined || !Number.isFinite(value)) return false
    if (this.best && (more ? value <= this.best.value : value >= this.best.value)) return false
    this.best = { step, value }
    return true
  }

  state(): CheckpointState['validation'] {
    return { best: this.best, epoch: this.#epoch }
  }

  restore({ best, epoch }: CheckpointState['validation']): void {
    this.best = best
    this.#epoch = epoch
  }
}

/** Whole intervals in so many steps. The last bits of an interval that comes from epochs do not matter. */
const count = (steps: number, interval: number): number => Math.floor(steps / interval + 1e-9)
