/**
 * Checkpoints written and read: of one file, or of a sharded run of one a process, whose tensors are pieces,
 * `name[begin:end]`; any number of processes can read them.
 */
import { StarError } from '../../native/index.js'
import type { Ema, Optimizer } from '../../optim/index.js'
import { reshape, scope, type Tensor } from '../../tensor/index.js'
import { readSafetensors } from '../../weights/index.js'
import type { Task } from '../kinds/task.js'
import { type CheckpointContent, shardFile } from './checkpointer.js'
import { verifyChecksums } from './checksums.js'
import {
  type CheckpointMetadata,
  type CheckpointState,
  type DescribedMetadata,
  encodeMetadata,
  parseMetadata,
} from './format.js'
import { hasPieces, Stored } from './pieces.js'
import type { TrainedWeights } from './trained-weights.js'

export interface CheckpointParts {
  /** Written in f32, whatever the precision of the run. */
  model: TrainedWeights
  optimizer: Optimizer
  ema: Ema | null
  /** What the task keeps besides. */
  task: Pick<Task, 'tensors'>
}

/** The process that writes, and how many there are. */
export interface Writer {
  rank: number
  count: number
}

function* prefixed(prefix: string, tensors: Iterable<readonly [string, Tensor]>): Generator<[string, Tensor]> {
  for (const [name, tensor] of tensors) yield [prefix + name, tensor]
}

/**
 * All parts and the state, ready to be written: of a sharded run those of one process.
 * @param described the configurations of the run and of the model for use
 */
export function checkpointContent(
  parts: CheckpointParts,
  state: CheckpointState,
  described: Pick<DescribedMetadata, 'config' | 'model'>,
  { rank, count }: Writer = { rank: 0, count: 1 },
): CheckpointContent {
  return {
    tensors: [
      ...prefixed('model.', parts.model.stored(rank === 0)),
      ...prefixed('optimizer.', parts.optimizer.tensors()),
      ...(parts.ema ? prefixed('ema.', parts.ema.tensors()) : []),
      ...(rank === 0 ? prefixed('task.', parts.task.tensors?.() ?? []) : []),
    ],
    metadata: encodeMetadata({
      state,
      optimizer: parts.optimizer.state(),
      ...described,
      ...(parts.model.sharded && {
        shards: count,
        shapes: Object.fromEntries(
          Array.from(parts.model.namedTensors(), ({ name, tensor }) => [name, [...tensor.shape]]),
        ),
      }),
    }),
  }
}

/** A checkpoint that was read. */
export interface Checkpoint {
  file: string
  /** Of all its files. */
  tensors: ReadonlyMap<string, Tensor>
  metadata: CheckpointMetadata
}

function readFile(file: string): Omit<Checkpoint, 'tensors'> & { tensors: Map<string, Tensor> } {
  const { tensors, metadata: texts } = readSafetensors(file)
  const metadata = parseMetadata(file, texts)
  const stored = Array.from(tensors, ([name, { handle }]) => ({ name, read: () => new Uint8Array(handle.read()) }))
  verifyChecksums(file, stored, texts)
  return { file, tensors, metadata }
}

/** Reads a checkpoint with its shards, as tensors of the current scope. @throws ERR_FILE for a file that is missing or not whole */
export function readCheckpoint(file: string): Checkpoint {
  const whole = readFile(file)
  const { state, shards = 1 } = whole.metadata
  for (let shard = 1; shard < shards; shard++) {
    const other = readFile(shardFile(file, shard))
    if (other.metadata.state.step !== state.step || other.metadata.shards !== shards)
      throw new StarError('ERR_FILE', `${other.file} belongs to another checkpoint than ${file}: remove both`)
    for (const [name, tensor] of other.tensors) whole.tensors.set(name, tensor)
  }
  return whole
}

/** The tensors below a prefix, without it. */
export const below = ({ tensors }: Checkpoint, prefix: string): Map<string, Tensor> =>
  new Map(
    [...tensors].flatMap(([name, tensor]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), tensor]] : [])),
  )

/** Reads a checkpoint into the parts and returns the state. @throws ERR_FILE for a broken file, ERR_SHAPE for another model's */
export function loadCheckpoint(file: string, { model, optimizer, ema, task }: CheckpointParts): CheckpointState {
  return scope(() => {
    const checkpoint = readCheckpoint(file)
    const { metadata } = checkpoint
    const [weights, moments, averages, besides] = ['model.', 'optimizer.', 'ema.', 'task.'].map((prefix) =>
      below(checkpoint, prefix),
    )
    for (const [name, tensor] of task.tensors?.() ?? []) {
      const given = besides.get(name)
      if (given?.shape.join() !== tensor.shape.join())
        throw new StarError(
          'ERR_SHAPE',
          `${file} ${given ? `holds ${name} with shape (${given.shape.join(', ')}), expected (${tensor.shape.join(', ')})` : `holds no ${name}`}: begin a new run with its weights (start.weights)`,
        )
      tensor.copyFrom(given)
    }
    if (model.sharded || hasPieces(checkpoint.tensors.keys())) {
      const own = [...model.model.namedTensors()].map(({ name, tensor }) => [name, tensor] as const)
      new Stored(file, weights).restore([...own, ...model.masters()], own)
      new Stored(file, moments).restore(optimizer.tensors())
      optimizer.resume(metadata.optimizer)
      if (ema) new Stored(file, averages).restore(ema.tensors())
      return metadata.state
    }
    model.load(weights)
    optimizer.load(moments, metadata.optimizer)
    for (const [name, shadow] of ema?.tensors() ?? []) {
      const given = averages.get(name)
      if (!given)
        throw new StarError(
          'ERR_SHAPE',
          `${file} holds no averaged weight ${name}: set "ema" to 0 or start a new run folder`,
        )
      shadow.copyFrom(given)
    }
    return metadata.state
  })
}

/** The weights for use in a checkpoint, whole and in f32: the averaged ones where there are some. In the current scope. */
export function checkpointWeights(file: string): { name: string; tensor: Tensor }[] {
  const checkpoint = readCheckpoint(file)
  const { shapes = {} } = checkpoint.metadata
  const [weights, averages] = ['model.', 'ema.'].map((prefix) => new Stored(file, below(checkpoint, prefix)))
  return Array.from(weights.names(), (name) => {
    const whole = (averages.has(name) ? averages : weights).whole(name)
    return { name, tensor: shapes[name] ? reshape(whole, shapes[name]) : whole }
  })
}
