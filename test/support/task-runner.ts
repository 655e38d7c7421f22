/** Tasks opened as one of several processes, and what they are given: to compare numbers of processes. */
import { ProcessGroup } from '../../lib/distributed/index.js'
import { backward, full, scope, type Tensor } from '../../lib/tensor/index.js'
import type { TaskContext } from '../../lib/train/data/context.js'
import { runSchema } from '../../lib/train/index.js'
import { type OpenedTask, openTask } from '../../lib/train/kinds/open-task.js'
import type { Figures, Metrics } from '../../lib/train/kinds/task.js'
import { RunFolder } from '../../lib/train/run-folder/run-folder.js'
import { type Owner, type RankFunction, runRanks } from './ranks.js'

/** The task of a configuration in a run folder of its own. */
export function openRun(config: object, group: TaskContext['group'] = ProcessGroup.single()): Promise<OpenedTask> {
  const parsed = runSchema.parse(config)
  const context = { device: 'cpu', onProgress: () => {}, signal: undefined, group }
  return openTask(parsed, new RunFolder(parsed.runFolder), context)
}

/** The figures of one micro-batch, read back. */
export const metricsOf = ({ values, named }: Figures): Metrics => named(Array.from(values.floats()))

/** A process of a group, for what needs no other process: it has no collectives. */
export function placeOf(rank: number, size: number): TaskContext['group'] {
  const alone = (): never => {
    throw new Error(`rank ${rank} of ${size} is alone in this test`)
  }
  return { rank, size, allReduce: alone, broadcast: alone, allGather: alone }
}

export interface GroupRun {
  config: object
  steps: number
  /** State of a task to resume from. */
  from?: unknown
}

/** What a process of a group has met. */
export interface GroupResult {
  ids: string[][]
  metrics: Metrics[]
  /** Of the trained module, by name. */
  weights: Record<string, Float32Array>
  state: unknown
}

// Long enough for a machine that is busy with other things.
const timeoutSeconds = 240

/**
 * Trains on a group of processes by plain gradient descent, which, unlike AdamW, makes no step of a gradient that is nothing
 * but rounding errors. Results by rank.
 */
export const runGroup = (
  { ranks: size, ...input }: GroupRun & { ranks: number },
  owner: Owner,
): Promise<GroupResult[]> =>
  runRanks<GroupResult>(owner, new URL(import.meta.url), 'trainGroup', { size, input, seconds: timeoutSeconds })

/** One process of `runGroup`. */
export const trainGroup: RankFunction<GroupRun, GroupResult> = async (env, run) => {
  const group = await ProcessGroup.connect(env, { timeoutSeconds })
  try {
    return await train(run, group)
  } finally {
    group.close()
  }
}

async function train({ config, steps, from }: GroupRun, group: ProcessGroup): Promise<GroupResult> {
  const { optimizer } = runSchema.parse(config)
  const { task } = await openRun(config, group)
  if (from !== undefined) task.restore(from)
  const parameters = task.model.parameters()
  const { accumulate } = optimizer
  const result: GroupResult = { ids: [], metrics: [], weights: {}, state: null }
  for (let step = 0; step < steps; step++) {
    const batch = await task.next(optimizer.batchSize)
    result.ids.push([...batch.ids])
    const seeded = (loss: Tensor): void => backward(loss, full(loss.shape, 1 / (accumulate * group.size)))
    for (const part of task.split(batch, accumulate, step))
      result.metrics.push(scope(() => metricsOf(task.forwardBackward(part, step, seeded))))
    for (const parameter of parameters) {
      if (!parameter.grad) continue
      group.allReduce(parameter.grad).wait()
      const grad = parameter.grad.floats()
      parameter.write(parameter.floats().map((w, i) => w - optimizer.learningRate * grad[i]))
    }
    task.model.zeroGrad()
    task.afterStep?.(step + 1)
  }
  for (const { name, tensor } of task.model.namedTensors()) result.weights[name] = tensor.floats()
  result.state = task.state()
  task.dispose()
  return result
}
