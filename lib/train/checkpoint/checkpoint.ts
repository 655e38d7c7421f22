/**
 * A checkpoint is one safetensors file: `model.*`, `optimizer.*` and `ema.*` tensors, and in its metadata the step, the
 * place in the epoch, the random states and the configuration, as JSON. Of a sharded run it is one such file a process, whose
 * tensors are pieces, `name[begin:end]`; any number of processes can read them.
 */

import { StarError } from '../../native/index.js'
import type { AdamW, Ema, LossScaleState } from '../../optim/index.js'
import { reshape, scope, type Tensor } from '../../tensor/index.js'
import { checkpointFormat, readSafetensors } from '../../weights/index.js'
import type { Validator } from '../loop/validator.js'
import { type CheckpointContent, shardFile } from './checkpointer.js'
import { verifyChecksums } from './checksums.js'
import { hasPieces, Stored } from './pieces.js'
import type { TrainedWeights } from './trained-weights.js'

export interface CheckpointState {
  /** Steps done. */
  step: number
  /** State of the task: random numbers, the place in the data. */
  task: unknown
  /** In f16 runs. */
  lossScale?: LossScaleState
  validation: ReturnType<Validator['state']>
}

export interface CheckpointParts {
  /** Written in f32, whatever the precision of the run. */
  model: TrainedWeights
  optimizer: AdamW
  ema: Ema | null
}

/** The process that writes, and how many there are. */
export interface Writer {
  rank: number
  count: number
}

function* prefixed(prefix: string, tensors: Iterable<[string, Tensor]>): Generator<[string, Tensor]> {
  for (const [name, tensor] of tensors) yield [prefix + name, tensor]
}

/**
 * All parts and the state, ready to be written: of a sharded run those of one process.
 * @param described the configurations of the run and of the model for use
 */
export function checkpointContent(
  parts: CheckpointParts,
  state: CheckpointState,
  described: { config: unknown; model: unknown },
  { rank, count }: Writer = { rank: 0, count: 1 },
): CheckpointContent {
  return {
    tensors: [
      ...prefixed('model.', parts.model.stored(rank === 0)),
      ...prefixed('optimizer.', parts.optimizer.tensors()),
      ...(parts.ema ? prefixed('ema.', parts.ema.tensors()) : []),
    ],
    metadata: {
      format: checkpointFormat,
      state: JSON.stringify(state),
      optimizer: JSON.stringify(parts.optimizer.state()),
      config: JSON.stringify(described.config),
      model: JSON.stringify(described.model),
      ...(parts.model.sharded && {
        shards: String(count),
        shapes: JSON.stringify(
          Object.fromEntries(Array.from(parts.model.namedTensors(), ({ name, tensor }) => [name, tensor.shape])),
        ),
      }),
    },
  }
}

export interface CheckpointFiles {
  /** Of all files of the checkpoint. */
  tensors: Map<string, Tensor>
  metadata: Record<string, string>
}

function readWhole(file: string): CheckpointFiles {
  const { tensors, metadata } = readSafetensors(file)
  if (metadata.format !== checkpointFormat)
    throw new StarError(
      'ERR_FILE',
      `${file} is not a training checkpoint (its format is ${metadata.format ?? 'not given'}): point to a file of a run's checkpoints folder`,
    )
  const stored = Array.from(tensors, ([name, { handle }]) => ({ name, read: () => new Uint8Array(handle.read()) }))
  verifyChecksums(file, stored, metadata)
  return { tensors, metadata }
}

/** Reads a checkpoint with its shards, as tensors of the current scope. @throws ERR_FILE for a file that is missing or not whole */
export function readCheckpoint(file: string): CheckpointFiles {
  const { tensors, metadata } = readWhole(file)
  for (let shard = 1; shard < Number(metadata.shards ?? 1); shard++) {
    const other = readWhole(shardFile(file, shard))
    const stepOf = ({ state }: Record<string, string>): number => (JSON.parse(state) as CheckpointState).step
    if (stepOf(other.metadata) !== stepOf(metadata) || other.metadata.shards !== metadata.shards)
      throw new StarError(
        'ERR_FILE',
        `${shardFile(file, shard)} belongs to another checkpoint than ${file}: remove both`,
      )
    for (const [name, tensor] of other.tensors) tensors.set(name, tensor)
  }
  return { tensors, metadata }
}

/** Reads a checkpoint into the parts and returns the state. @throws ERR_FILE for a broken file, ERR_SHAPE for another model's */
export function loadCheckpoint(file: string, parts: CheckpointParts): CheckpointState {
  return scope(() => {
    const { tensors, metadata } = readCheckpoint(file)
    const withPrefix = (prefix: string) =>
      new Map(
        [...tensors]
          .filter(([name]) => name.startsWith(prefix))
          .map(([name, t]) => [name.slice(prefix.length), t] as const),
      )
    if (parts.model.sharded || hasPieces(tensors.keys())) {
      const stored = (prefix: string): Stored => new Stored(file, withPrefix(prefix))
      const weights = [...parts.model.model.namedTensors()].map(({ name, tensor }) => [name, tensor] as const)
      stored('model.').restore([...weights, ...parts.model.masters()], weights)
      stored('optimizer.').restore(parts.optimizer.tensors())
      parts.optimizer.resume(JSON.parse(metadata.optimizer))
      if (parts.ema) stored('ema.').restore(parts.ema.tensors())
      return JSON.parse(metadata.state) as CheckpointState
    }
    parts.model.load(withPrefix('model.'))
    parts.optimizer.load(withPrefix('optimizer.'), JSON.parse(metadata.optimizer))
    if (parts.ema) {
      const saved = withPrefix('ema.')
      for (const [name, shadow] of parts.ema.tensors()) {
        const given = saved.get(name)
        if (!given)
          throw new StarError(
            'ERR_SHAPE',
            `${file} holds no averaged weight ${name}: set "ema" to 0 or start a new run folder`,
          )
        shadow.copyFrom(given)
      }
    }
    return JSON.parse(metadata.state) as CheckpointState
  })
}

/** The weights for use in a checkpoint, whole and in f32: the averaged ones where there are some. In the current scope. */
export function checkpointWeights(file: string): { name: string; tensor: Tensor }[] {
  return weightsOf(file, readCheckpoint(file))
}

/** The same of one that was read. */
export function weightsOf(file: string, { tensors, metadata }: CheckpointFiles): { name: string; tensor: Tensor }[] {
  const shapes = JSON.parse(metadata.shapes ?? '{}') as Record<string, number[]>
  const part = (prefix: string): Stored =>
    new Stored(
      file,
      new Map([...tensors].flatMap(([n, t]) => (n.startsWith(prefix) ? [[n.slice(prefix.length), t]] : []))),
    )
  const [weights, averages] = [part('model.'), part('ema.')]
  return Array.from(weights.names(), (name) => {
    const whole = (averages.has(name) ? averages : weights).whole(name)
    return { name, tensor: shapes[name] ? reshape(whole, shapes[name]) : whole }
  })
}
