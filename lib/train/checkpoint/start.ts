/**
 * Starting a run from trained weights. The tables whose rows belong to scales may have fewer rows than the run's model has:
 * the rows that exist are copied, new ones keep their first values, drawn at random with the run's seed. As in the published
 * program, under shared AdaLN new rows of lvl_embed repeat the last one, because it conditions every scale.
 */
import { statSync } from 'node:fs'
import { localModel } from '../../models/local.js'
import { ignoredWeights, openPart, type PartWeights } from '../../models/source.js'
import { StarError } from '../../native/index.js'
import { cast, concat, noGrad, scope, slice, Tensor, zeros } from '../../tensor/index.js'
import { type ModelFolderContent, type ModelPart, openWeights } from '../../weights/index.js'
import type { StartConfig } from '../config/start.js'
import type { DownloadContext } from '../data/context.js'
import { downloads } from '../data/token-data.js'
import { specOf } from '../kinds/index.js'
import type { CheckpointParts } from './checkpoint.js'
import { describedMetadata, isCheckpoint } from './format.js'
import { openReferenceTraining, type ReferenceTraining } from './reference-optimizer.js'

/** Epochs that are done, and steps of the optimizer. */
type Progress = Record<'epoch' | 'step', number>

/** Tables with a row a scale or a token, and the axis of their rows. */
const growing: Readonly<Record<string, number>> = { 'lvl_embed.weight': 0, 'lvl_embed_2.weight': 0, pos_1LC: 1 }

/** Where the files' tensors are. */
const onHost = { device: 'cpu' }

/** Rows that `given` lacks of `shape`, or 0 where it has them all or differs in more than that. */
function missingRows(name: string, given: readonly number[], shape: readonly number[]): number {
  if (!Object.hasOwn(growing, name) || given.length !== shape.length) return 0
  const axis = growing[name]
  const rows = shape[axis] - given[axis]
  return rows > 0 && given.every((d, i) => i === axis || d === shape[i]) ? rows : 0
}

/** `given` with the rows that `whole` has more. */
function extended(name: string, given: Tensor, whole: Tensor, repeatLast: boolean): Tensor {
  const axis = growing[name]
  const have = given.dim(axis)
  const values = cast(given, whole.dtype)
  if (!repeatLast) return concat([values, slice(whole, axis, have)], axis)
  const last = slice(values, axis, have - 1)
  return concat([values, ...Array.from({ length: whole.dim(axis) - have }, () => last)], axis)
}

/** Copies weights into the model, grown where the rules allow; returns what has grown. @throws ERR_SHAPE for other differences */
function takeWeights(given: Map<string, Tensor>, part: ModelPart, { model, ema }: CheckpointParts): string[] {
  const grown: string[] = []
  const sharedAdaLN = given.has('lvl_embed_proj.weight')
  for (const { name, tensor } of model.namedTensors()) {
    const own = given.get(name)
    const rows = own ? missingRows(name, own.shape, tensor.shape) : 0
    if (!own || rows === 0) continue
    given.set(
      name,
      extended(
        name,
        own,
        Tensor.from(tensor.floats(), tensor.shape, onHost),
        sharedAdaLN && name === 'lvl_embed.weight',
      ),
    )
    grown.push(`${name} by ${rows} rows`)
  }
  model.load(given, { ignore: ignoredWeights[part] })
  const weights = new Map([...model.namedTensors()].map(({ name, tensor }) => [name, tensor]))
  for (const [name, shadow] of ema?.tensors() ?? []) shadow.copyFrom(weights.get(name) as Tensor)
  return grown
}

/** Weights to begin with, and of the checkpoint of a training what its optimizer keeps. */
interface Start extends PartWeights {
  optimizer: ReferenceTraining['optimizer'] | null
  /** How far a training of the reference was. */
  progress: Progress | null
}

function openStart(path: string, part: ModelPart, optimizer: StartConfig['optimizer']): Start {
  const texts = statSync(path, { throwIfNoEntry: false })?.isFile() ? metadataOf(path) : {}
  if (!isCheckpoint(texts)) {
    const weights = openPart(path, part)
    // Weights alone are taken whatever stands beside them.
    const training = optimizer === 'reset' ? null : openReferenceTraining(weights.weights.path)
    return {
      ...weights,
      optimizer: training?.optimizer ?? null,
      progress: training && { epoch: training.epoch, step: training.optimizer.step },
    }
  }
  const { config, model, optimizer: kept, shards = 1 } = describedMetadata(path, texts)
  if (shards > 1)
    throw new StarError(
      'ERR_FILE',
      `${path} holds a part of its weights, as those of every sharded run: make a model of it first (star ckpt export)`,
    )
  if (specOf(config).part !== part)
    throw new StarError('ERR_FILE', `${path} holds no weights of a ${part}: it is of a run of kind "${config.kind}"`)
  const weights = openWeights(path, { key: 'model' })
  const moments = (): Map<string, Tensor> => {
    using opened = openWeights(path, { key: 'optimizer' })
    return opened.tensors()
  }
  const told = model.transformer ?? {}
  return { weights, takes: () => true, told, optimizer: { step: kept.step, moments }, progress: null }
}

function metadataOf(path: string): Readonly<Record<string, string>> {
  using weights = openWeights(path)
  return weights.metadata
}

/** The optimizer's averages of the checkpoint; new rows begin with 0. */
function takeOptimizer({ weights, optimizer: kept }: Start, { optimizer }: CheckpointParts, asked: string): void {
  if (!kept)
    throw new StarError(
      'ERR_CONFIG',
      `start.optimizer is "${asked}", but ${weights.path} holds no optimizer state: name a checkpoint of a run, or set it to "reset"`,
    )
  const given = kept.moments()
  for (const [name, moment] of optimizer.tensors()) {
    const own = given.get(name)
    const parameter = name.replace(/\.exp_avg(_sq)?$/, '')
    if (own && missingRows(parameter, own.shape, moment.shape) > 0)
      given.set(name, extended(parameter, own, zeros(moment.shape, onHost), false))
  }
  optimizer.load(given, { step: kept.step })
}

/** How far the training of a checkpoint was that a run resumes. @throws ERR_CONFIG where that is not known */
function progressOf({ weights, progress }: Start): Progress {
  if (progress) return progress
  throw new StarError(
    'ERR_CONFIG',
    `start.optimizer is "resume", but ${weights.path} is no checkpoint of the reference implementation with its optimizer: ` +
      'a run resumes from its own run folder by itself; to begin anew with its averages, set it to "keep"',
  )
}

/** Options of the model that its weights do not show, where they differ from those of the run. */
function differences(told: Readonly<Record<string, unknown>>, model: Readonly<Record<string, unknown>>): string[] {
  const keys = ['heads', 'ropeTheta', 'ropeNorm', 'logitNorm', 'levelEmbedding', 'crossAttention'] as const
  return keys.flatMap((key) =>
    told[key] !== undefined && told[key] !== model[key] ? [`${key} ${told[key]} there, ${model[key]} here`] : [],
  )
}

/**
 * Begins a run with the weights that its configuration names.
 * @param part what is trained
 * @param model what the model for use says of itself
 * @returns a line for the log, and of a training of the reference that is resumed how far it was
 * @throws ERR_FILE when there are no such weights, ERR_SHAPE with a readable list of what does not fit, ERR_CONFIG where the
 * optimizer's state is to be kept and there is none
 */
export async function startRun(
  { weights: name, optimizer }: StartConfig,
  part: ModelPart,
  model: ModelFolderContent['config'],
  parts: CheckpointParts,
  context: DownloadContext,
): Promise<{ line: string; progress: Progress | null }> {
  const { path } = await localModel(name, {}, downloads(context))
  const source = openStart(path, part, optimizer)
  using weights = source.weights
  return noGrad(() =>
    scope(() => {
      let grown: string[]
      try {
        grown = takeWeights(weights.tensors({ filter: source.takes }), part, parts)
      } catch (error) {
        if (!(error instanceof StarError) || error.code !== 'ERR_SHAPE') throw error
        throw new StarError('ERR_SHAPE', `start.weights, ${weights.path}: ${error.message}`, { cause: error })
      }
      const progress = optimizer === 'resume' ? progressOf(source) : null
      if (optimizer !== 'reset') takeOptimizer(source, parts, optimizer)
      const line = [
        progress
          ? `resumed from ${weights.path}, step ${progress.step}, at the beginning of epoch ${progress.epoch + 1}`
          : `started from ${weights.path}, optimizer ${optimizer === 'keep' ? 'kept' : 'reset'}`,
        ...(grown.length > 0 ? [`grown: ${grown.join(', ')}`] : []),
        ...differences(source.told, model.transformer ?? {}),
      ].join('; ')
      return { line, progress }
    }),
  )
}
