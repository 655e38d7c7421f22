/** The position of a training in its data, as checkpoints keep it and any number of processes resumes from it. */
import type { Loader } from '../../data/index.js'
import type { RunFolder } from '../run-folder/run-folder.js'
import type { TaskContext } from './context.js'
import { gatherJson } from './gather.js'

/** Of several processes with orders of their own, by rank. */
interface Places {
  places: { epoch: number }[]
}

/**
 * Of packs there is one position for all processes. Of tars each process has its own, and a state holds them all: as many
 * processes resume exactly, another number has other shares and begins the epoch after the one that was under way.
 */
export class DataPosition {
  readonly #train: Loader
  readonly #run: RunFolder
  readonly #context: TaskContext

  constructor(train: Loader, run: RunFolder, context: TaskContext) {
    this.#train = train
    this.#run = run
    this.#context = context
  }

  /** All processes call it together. */
  state(): unknown {
    const { group, device } = this.#context
    const own = this.#train.state()
    if (!this.#train.ownOrder || group.size === 1) return own
    return { places: gatherJson(group, own, device) }
  }

  begin(epoch: number): void {
    this.#train.begin(epoch)
  }

  restore(state: unknown): void {
    const { rank, size: ranks } = this.#context.group
    const places = (state as Partial<Places>).places ?? [state as { epoch: number }]
    if (!this.#train.ownOrder || places.length === ranks) {
      this.#train.restore(this.#train.ownOrder ? places[rank] : state)
      return
    }
    const epoch = 1 + Math.max(...places.map(({ epoch }) => epoch))
    this.#run.log(
      `the checkpoint is of ${places.length} processes, and tars are shared out to ${ranks} now: resumes at the beginning of epoch ${epoch + 1}`,
    )
    this.#train.begin(epoch)
  }
}
