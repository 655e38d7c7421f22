/** Types of process groups and collectives (native/binding/comm.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

/** One collective in flight. */
export interface NativeWork {
  /** Finished, well or not. */
  done(): boolean
  /** On the CPU blocks this thread until it has finished; on a GPU makes the device wait. */
  wait(): void
}

export interface NativeProcessGroup {
  engine(): string
  allReduce(tensor: NativeTensor, operation: string): NativeWork
  reduceScatter(out: NativeTensor, input: NativeTensor): NativeWork
  allGather(out: NativeTensor, input: NativeTensor): NativeWork
  broadcast(tensor: NativeTensor, root: number): NativeWork
  barrier(): NativeWork
  /** What is given between the two may begin together, at the end. */
  beginBatch(): void
  endBatch(): void
  close(): void
}

/** A connection to the store in rank 0's process. */
export interface NativeStore {
  set(key: string, value: string): void
  add(key: string, amount: number): number
  /** Waits for the key; null when it does not come in time. */
  get(key: string, milliseconds: number): Promise<string | null>
}

export interface CommOps {
  singleGroup(): NativeProcessGroup
  /** With the device's own collectives where it has some (NCCL), else over Gloo. */
  connectGroup(
    device: string,
    localRank: number,
    rank: number,
    size: number,
    host: string,
    port: number,
    ports: number,
    job: string,
    milliseconds: number,
  ): Promise<NativeProcessGroup>
  StoreClient: new (host: string, port: number, ports: number, job: string, milliseconds: number) => NativeStore
}
