/**
 * Processes that do collectives together: each gives the same ones in the same order, and they run in that order beside the
 * thread that gave them.
 */
import { StarError } from '../native/error.js'
import { native } from '../native/index.js'
import type { NativeProcessGroup, NativeWork } from '../native/ops/comm.js'
import { resolveDevice, type Tensor } from '../tensor/index.js'
import { type DistributedEnvironment, readEnvironment } from './environment.js'
import { connectStore, LocalStore, type Store, scopedStore } from './store.js'

/** One collective in flight. @internal */
export interface Work {
  /** Finished, well or not. */
  readonly done: boolean
  /**
   * On the CPU blocks this thread until it has finished; on a GPU makes the device wait for it instead.
   * @throws ERR_COMM naming the process that is lost
   */
  wait(): void
}

/** What a reduction does with the tensors of all processes. @internal */
export type ReduceOperation = 'sum' | 'max' | 'min'

/** How processes exchange tensors. */
export interface ConnectOptions {
  /** Where the tensors lie that are exchanged: GPUs exchange by NCCL, `cpu` (the default) by Gloo. */
  device?: string
  /** How long a process waits for the others, in seconds; default: STAR_COMM_TIMEOUT, or 300. */
  timeoutSeconds?: number
}

const usualTimeout = 300

/** The group of `launched`, once it was asked for. */
let met: { device: string; group: Promise<ProcessGroup>; uses: number } | null = null

function timeoutOf(given: number | undefined): number {
  if (given !== undefined) return given
  const text = process.env.STAR_COMM_TIMEOUT
  if (text === undefined || text === '') return usualTimeout
  const seconds = Number(text)
  if (seconds > 0 && seconds <= 1e6) return seconds
  throw new StarError('ERR_CONFIG', `STAR_COMM_TIMEOUT is "${text}", expected seconds above 0, up to 1000000`)
}

/** Processes that train together. `Trainer.open` meets those of a launcher by itself, or takes a group that `connect` made. */
export class ProcessGroup {
  private constructor(
    private readonly group: NativeProcessGroup,
    /** Place of this process, from 0 to size − 1. */
    readonly rank: number,
    /** Number of processes. */
    readonly size: number,
    /** Texts that the processes leave for each other. @internal */
    readonly store: Store,
  ) {}

  /** This process alone: every collective is done at once. */
  static single(): ProcessGroup {
    return new ProcessGroup(native.singleGroup(), 0, 1, new LocalStore())
  }

  /**
   * Meets the other processes of a training. Alone, it opens no connection. Of several GPUs of its machine this process takes
   * from now on the one of its local rank.
   * @throws ERR_COMM when one of them does not come in time, is there twice, or counts other processes
   */
  static async connect(environment: DistributedEnvironment, options: ConnectOptions = {}): Promise<ProcessGroup> {
    const { rank, size, localRank, masterAddr, masterPort, ports, job } = environment
    if (size === 1) return ProcessGroup.single()
    const seconds = timeoutOf(options.timeoutSeconds)
    const device = resolveDevice(options.device ?? 'cpu')
    const milliseconds = Math.ceil(1000 * seconds)
    const group = await native.connectGroup(
      device,
      localRank,
      rank,
      size,
      masterAddr,
      masterPort,
      ports,
      job,
      milliseconds,
    )
    return new ProcessGroup(group, rank, size, connectStore(environment, seconds))
  }

  /**
   * The processes that a launcher has started with this one; without a launcher this process alone. They meet once and part when
   * the process ends: each call, which all of them make alike, gives a group over the same connections with a store of its own.
   * @throws ERR_CONFIG for variables of a launcher that contradict each other, ERR_ARGUMENT for another device than the first
   * call's, ERR_COMM as `connect`
   */
  static async launched({ device: asked = 'cpu' }: Pick<ConnectOptions, 'device'> = {}): Promise<ProcessGroup> {
    const environment = readEnvironment(process.env)
    if (environment.size === 1) return ProcessGroup.single()
    const device = resolveDevice(asked)
    if (!met) {
      met = { device, group: ProcessGroup.connect(environment, { device }), uses: 0 }
      // Who has left is not waited for.
      met.group.then((group) => process.once('exit', () => group.close())).catch(() => {})
    }
    if (met.device !== device)
      throw new StarError(
        'ERR_ARGUMENT',
        `the processes exchange tensors of ${met.device} since they met, and ${device} was asked for: use one device in a program`,
      )
    const { group, rank, size, store } = await met.group
    return new ProcessGroup(group, rank, size, scopedStore(store, `${met.uses++}/`))
  }

  /** The library that does the collectives. @internal */
  get engine(): string {
    return this.group.engine()
  }

  /** tensor = the sum, largest or smallest of all processes' tensors, element by element; f32, f16, bf16, i32. @internal */
  allReduce(tensor: Tensor, operation: ReduceOperation = 'sum'): Work {
    return workOf(this.group.allReduce(tensor.handle, operation))
  }

  /**
   * out (n) = elements [rank·n, (rank + 1)·n) of the sum of all processes' input (size·n). The input is overwritten; `out` may
   * be those elements of it.
   * @internal
   */
  reduceScatter(out: Tensor, input: Tensor): Work {
    return workOf(this.group.reduceScatter(out.handle, input.handle))
  }

  /** out (size·n) = all processes' input (n), by rank. The input may be elements [rank·n, (rank + 1)·n) of `out`. @internal */
  allGather(out: Tensor, input: Tensor): Work {
    return workOf(this.group.allGather(out.handle, input.handle))
  }

  /** Gives every process the tensor of `root`. @internal */
  broadcast(tensor: Tensor, root = 0): Work {
    return workOf(this.group.broadcast(tensor.handle, root))
  }

  /** Is done when every process has come to it. Its `wait` blocks this thread on a GPU too. @internal */
  barrier(): Work {
    return workOf(this.group.barrier())
  }

  /** What `give` gives may begin together, when it returns: many small collectives at the price of one on a GPU. @internal */
  batch<Result>(give: () => Result): Result {
    this.group.beginBatch()
    try {
      return give()
    } finally {
      this.group.endBatch()
    }
  }

  /** Ends this process's part. What is in flight fails; the others can do no more collectives. Twice is harmless. */
  close(): void {
    this.group.close()
  }
}

const workOf = (work: NativeWork): Work => ({
  get done() {
    return work.done()
  },
  wait: () => work.wait(),
})
