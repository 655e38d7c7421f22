/** From a configuration to the task it describes: first the data, then lengths in steps, then the task. */
import { checkImages } from '../config/data.js'
import { checkShares } from '../config/optimizer.js'
import { type Resolved, resolve } from '../config/resolve.js'
import { withPromptFile } from '../config/work.js'
import type { TaskContext } from '../data/context.js'
import type { RunFolder } from '../run-folder/run-folder.js'
import { type RunConfig, specOf } from './index.js'
import type { Task } from './task.js'

export interface OpenedTask {
  task: Task
  /** With lengths and intervals in steps. */
  config: Resolved<RunConfig>
  /** Training samples of an epoch over all processes; null where nobody knows. */
  sampleCount: number | null
}

/** @throws ERR_CONFIG for a batch that the processes cannot share or where no images are named, and as the kind's own `openData` and `createTask` */
export async function openTask(config: RunConfig, run: RunFolder, context: TaskContext): Promise<OpenedTask> {
  checkShares(config.optimizer, context.group.size)
  const spec = specOf(config)
  checkImages(config.data)
  const given = { ...config, work: withPromptFile(config.work) }
  const { openData, createTask } = await spec.load()
  const data = await openData(given, run, context)
  const { sampleCount } = data
  try {
    const resolved = resolve(given, spec, sampleCount)
    return { task: createTask(resolved, data, context), config: resolved, sampleCount }
  } catch (error) {
    data.dispose()
    throw error
  }
}
