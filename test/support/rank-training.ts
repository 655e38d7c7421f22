/** What ranks do in tests of trainings of several processes. */
import { ProcessGroup } from '../../lib/distributed/index.js'
import { scope } from '../../lib/tensor/index.js'
import { checkpointWeights } from '../../lib/train/checkpoint/checkpoint.js'
import { listCheckpoints } from '../../lib/train/checkpoint/checkpointer.js'
import { testDevice as device } from './device.js'
import type { RankFunction } from './ranks.js'
import { runSteps } from './tiny-run.js'

export interface TrainingInput {
  config: { runFolder: string } & Record<string, unknown>
  /** Stops, as by a signal to this rank alone, after so many steps. */
  stop?: { rank: number; after: number }
}

export interface Trained {
  losses: number[]
  gradNorms: number[]
  /** Samples of each step that this rank has taken. */
  ids: (readonly string[])[]
  step: number
}

/** Trains to the end, or until it is stopped. */
export const train: RankFunction<TrainingInput, Trained> = async (env, { config, stop }) => {
  const group = await ProcessGroup.connect(env, { timeoutSeconds: 60, device })
  try {
    // What this rank alone is told.
    const seed = process.env.STAR_TEST_SEED
    const own = seed === undefined ? config : { ...config, seed: Number(seed) }
    const steps = await runSteps(own, stop?.rank === group.rank ? stop.after : undefined, { group, device })
    return {
      losses: steps.map(({ loss }) => loss),
      gradNorms: steps.map(({ gradNorm }) => gradNorm),
      ids: steps.map(({ ids }) => ids),
      step: steps.at(-1)?.step ?? 0,
    }
  } finally {
    group.close()
  }
}

/** The weights in the newest checkpoint of a run. */
export const trainedWeights = (runFolder: string): Map<string, Float32Array> =>
  scope(
    () =>
      new Map(
        checkpointWeights(listCheckpoints(runFolder)[0].file).map(({ name, tensor }) => [
          name,
          Float32Array.from(tensor.data()),
        ]),
      ),
  )
