/**
 * A checkpoint is one safetensors file: `model.*`, `optimizer.*` and `ema.*` tensors, and in its metadata the step, the
 * place in the epoch, the random states and the configuration, as JSON.
 */
import { checkpointFormat, readSafetensors } from '../checkpoint/index.js'
import { StarError } from '../native/index.js'
import type { AdamW, Ema, LossScaleState } from '../optim/index.js'
import { scope, type Tensor } from '../tensor/index.js'
import type { CheckpointContent } from './checkpointer.js'
import { verifyChecksums } from './checksums.js'
import type { TrainedWeights } from './trained-weights.js'
import type { Validator } from './validator.js'

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

function* prefixed(prefix: string, tensors: Iterable<[string, Tensor]>): Generator<[string, Tensor]> {
  for (const [name, tensor] of tensors) yield [prefix + name, tensor]
}

function* modelTensors(model: TrainedWeights): Generator<[string, Tensor]> {
  for (const { name, tensor } of model.namedTensors()) yield [name, tensor]
}

/** All parts and the state, ready to be written. */
export function checkpointContent(parts: CheckpointParts, state: CheckpointState, config: unknown): CheckpointContent {
  return {
    tensors: [
      ...prefixed('model.', modelTensors(parts.model)),
      ...prefixed('optimizer.', parts.optimizer.tensors()),
      ...(parts.ema ? prefixed('ema.', parts.ema.tensors()) : []),
    ],
    metadata: {
      format: checkpointFormat,
      state: JSON.stringify(state),
      optimizer: JSON.stringify(parts.optimizer.state()),
      config: JSON.stringify(config),
    },
  }
}

/** Reads a checkpoint into the parts and returns the state. @throws ERR_FILE for a broken file, ERR_SHAPE for another model's */
export function loadCheckpoint(file: string, parts: CheckpointParts): CheckpointState {
  return scope(() => {
    const { tensors, metadata } = readSafetensors(file)
    if (metadata.format !== checkpointFormat)
      throw new StarError(
        'ERR_FILE',
        `${file} is not a training checkpoint (its format is ${metadata.format ?? 'not given'}): point to a file of a run's checkpoints folder`,
      )
    const stored = Array.from(tensors, ([name, { handle }]) => ({ name, read: () => new Uint8Array(handle.read()) }))
    verifyChecksums(file, stored, metadata)
    const withPrefix = (prefix: string) =>
      new Map(
        [...tensors]
          .filter(([name]) => name.startsWith(prefix))
          .map(([name, t]) => [name.slice(prefix.length), t] as const),
      )
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
