/** What a run's data and task are opened with. */
import type { Tensor } from '../../tensor/index.js'

/** A collective in flight; `wait` returns when it is done. */
interface TaskWork {
  wait(): void
}

/**
 * Of a `ProcessGroup`, what a task needs. All processes call the same functions in the same order. Written out, as the published
 * type of a `ProcessGroup` does not have its collectives.
 */
export interface TaskGroup {
  readonly rank: number
  readonly size: number
  allReduce(tensor: Tensor, operation?: 'sum' | 'max' | 'min'): TaskWork
  allGather(out: Tensor, input: Tensor): TaskWork
  broadcast(tensor: Tensor, root?: number): TaskWork
}

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
