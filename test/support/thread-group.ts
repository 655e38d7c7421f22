/** A process group of threads of one process, over shared memory: what tests of tasks need where no network is asked for. */

import type { Tensor } from '../../lib/tensor/index.js'
import type { TaskGroup } from '../../lib/train/gather.js'

const slotBytes = 8 << 20
const timeoutMs = 120_000
const done = { wait: (): void => {} }

/** Memory of a group, to be handed to its threads. */
export const groupMemory = (size: number): SharedArrayBuffer => new SharedArrayBuffer(8 + size * slotBytes)

export class ThreadGroup implements TaskGroup {
  /** Threads that have arrived at the barrier, and barriers passed. */
  readonly #control: Int32Array

  constructor(
    private readonly memory: SharedArrayBuffer,
    readonly rank: number,
    readonly size: number,
  ) {
    this.#control = new Int32Array(memory, 0, 2)
  }

  #barrier(): void {
    const passed = Atomics.load(this.#control, 1)
    if (Atomics.add(this.#control, 0, 1) === this.size - 1) {
      Atomics.store(this.#control, 0, 0)
      Atomics.add(this.#control, 1, 1)
      Atomics.notify(this.#control, 1)
    } else if (Atomics.wait(this.#control, 1, passed, timeoutMs) === 'timed-out') {
      throw new Error(`rank ${this.rank} of ${this.size} waited in vain for the others`)
    }
  }

  /** What each thread gave, by rank. */
  #exchange(tensor: Tensor): Uint8Array[] {
    const { byteLength } = tensor.handle.read()
    if (byteLength > slotBytes) throw new Error(`${byteLength} bytes do not fit a slot of ${slotBytes}`)
    const slot = (rank: number): Uint8Array => new Uint8Array(this.memory, 8 + rank * slotBytes, byteLength)
    slot(this.rank).set(new Uint8Array(tensor.handle.read()))
    this.#barrier()
    const all = Array.from({ length: this.size }, (_, rank) => Uint8Array.from(slot(rank)))
    this.#barrier()
    if (all.some((bytes) => bytes.length !== byteLength)) throw new Error('the threads gave tensors of different sizes')
    return all
  }

  allReduce(tensor: Tensor, op: 'sum' | 'max' | 'min' = 'sum'): typeof done {
    const typed = (bytes: Uint8Array): Float32Array | Int32Array =>
      tensor.dtype === 'f32' ? new Float32Array(bytes.buffer) : new Int32Array(bytes.buffer)
    if (tensor.dtype !== 'f32' && tensor.dtype !== 'i32') throw new Error(`allReduce of ${tensor.dtype}`)
    const combine = { sum: (a: number, b: number) => a + b, max: Math.max, min: Math.min }[op]
    const [first, ...others] = this.#exchange(tensor).map(typed)
    for (const other of others) for (let i = 0; i < first.length; i++) first[i] = combine(first[i], other[i])
    tensor.write(first)
    return done
  }

  broadcast(tensor: Tensor, root = 0): typeof done {
    if (tensor.dtype !== 'f32') throw new Error(`broadcast of ${tensor.dtype}`)
    tensor.write(new Float32Array(this.#exchange(tensor)[root].buffer))
    return done
  }

  allGather(out: Tensor, input: Tensor): typeof done {
    if (input.dtype !== 'u8') throw new Error(`allGather of ${input.dtype}`)
    out.write(Uint8Array.from(this.#exchange(input).flatMap((bytes) => [...bytes])))
    return done
  }
}
