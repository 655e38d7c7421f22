/** What a run's data and task are opened with. */
import type { ProcessGroup } from '../../distributed/index.js'

/** Of a process group, what a task needs. All processes call the same functions in the same order. */
export type TaskGroup = Pick<ProcessGroup, 'rank' | 'size' | 'allReduce' | 'broadcast' | 'allGather'>

/** What downloads report to and are aborted by. */
export interface DownloadContext {
  /** Told what is being prepared and how far it is. */
  onProgress: (what: string, done: number, total: number) => void
  signal: AbortSignal | undefined
}

export interface TaskContext extends DownloadContext {
  device: string
  /** The processes that train together, this one among them. */
  group: TaskGroup
}
