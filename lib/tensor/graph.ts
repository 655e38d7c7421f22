/** Work of a device that is recorded once and done again as a whole (CUDA graphs). */
import { native } from '../native/index.js'
import { scope } from './scope.js'

/** True where `capture` works; the CPU does its work at once. */
export const canCapture = (device: string): boolean => native.canCapture(device)

/** A recording: the same ops on the same memory with the same scalars. Values are those of the moment it is launched. */
export class Graph {
  #id: number | null

  constructor(
    readonly device: string,
    id: number,
  ) {
    this.#id = id
  }

  launch(): void {
    native.launchGraph(this.device, this.#id ?? 0)
  }

  dispose(): void {
    if (this.#id !== null) native.destroyGraph(this.device, this.#id)
    this.#id = null
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/**
 * Records what `work` does instead of doing it. It must take its input from tensors made before, write its results into such
 * tensors, and neither copy to or from the host nor keep a tensor it makes.
 * @throws ERR_DEVICE on a device without graphs, or for work that cannot be recorded
 */
export function capture(device: string, work: () => void): Graph {
  native.beginCapture(device)
  try {
    scope(work)
  } catch (error) {
    native.endCapture(device, false)
    throw error
  }
  return new Graph(device, native.endCapture(device, true))
}
