/** The processes of a run: each trains a replica of the model on its part of every batch, and all take the same decisions. */
import { createHash } from 'node:crypto'
import { broadcastTensors, type ProcessGroup } from '../../distributed/index.js'
import { StarError } from '../../native/index.js'
import { scope, Tensor } from '../../tensor/index.js'

export class Replicas {
  constructor(
    readonly group: ProcessGroup,
    private readonly device: string,
  ) {}

  get count(): number {
    return this.group.size
  }

  /** Whether this process writes what the run leaves behind. */
  get first(): boolean {
    return this.group.rank === 0
  }

  /** The sums of a tensor's elements over all processes, read back. The tensor is overwritten. */
  sum(values: Tensor): Float32Array {
    if (this.count > 1) this.group.allReduce(values).wait()
    return values.floats()
  }

  /** Of each question, whether any process says yes. */
  any<Answers extends readonly boolean[]>(...answers: Answers): { [I in keyof Answers]: boolean } {
    type Result = { [I in keyof Answers]: boolean }
    if (this.count === 1) return answers as unknown as Result
    const asked = Float32Array.from(answers, Number)
    const sums = scope(() => this.sum(Tensor.from(asked, [asked.length], { device: this.device })))
    return Array.from(sums, (sum) => sum > 0) as unknown as Result
  }

  /**
   * Checks that every process was started with the same configuration.
   * @throws ERR_CONFIG naming a process that was not
   */
  async agree(configuration: unknown): Promise<void> {
    if (this.count === 1) return
    const { rank, store } = this.group
    const own = createHash('sha256').update(JSON.stringify(configuration)).digest('hex')
    store.set(`configuration/${rank}`, own)
    for (let other = 0; other < this.count; other++)
      if ((await store.get(`configuration/${other}`)) !== own)
        throw new StarError(
          'ERR_CONFIG',
          `rank ${rank} and rank ${other} were started with different configurations: give all processes the same file and flags`,
        )
  }

  /**
   * Gives every process the weights of the first, and makes sure that they are there.
   * @throws ERR_COMM naming a process whose weights differ afterwards
   */
  async spread(tensors: Iterable<Tensor>): Promise<void> {
    if (this.count === 1) return
    const all = [...tensors]
    broadcastTensors(all, this.group)
    const hash = createHash('sha256')
    for (const tensor of all) hash.update(new Uint8Array(tensor.handle.read()))
    const own = hash.digest('hex')
    const { rank, store } = this.group
    store.set(`weights/${rank}`, own)
    if ((await store.get('weights/0')) !== own)
      throw new StarError(
        'ERR_COMM',
        `the weights of rank ${rank} are not those that rank 0 gave it: its memory or network is faulty`,
      )
  }
}
