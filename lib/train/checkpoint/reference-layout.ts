/**
 * Checkpoints in the layout of the reference implementation (ar-ckpt-*.pth): `trainer.var_wo_ddp` and `trainer.vae_local` are
 * state dicts, `trainer.var_opt` holds what AdamW and the loss scaling keep, `epoch` and `iter` say how far the training is.
 */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseConfig } from '../../config/parse-config.js'
import { findModel, type ModelSource } from '../../models/source.js'
import { classEmbedding, type StarConfig, starConfigSchema } from '../../models/star/index.js'
import { downsampling } from '../../models/tokenizer/index.js'
import { StarError } from '../../native/index.js'
import { inFloats } from '../../nn/index.js'
import { countOf, reshape, scope, type Tensor } from '../../tensor/index.js'
import {
  type ModelPart,
  openWeights,
  TorchTuple,
  type TorchValue,
  torchDict,
  torchStateDict,
  torchValueParts,
  writables,
  writePartsSync,
} from '../../weights/index.js'
import type { DownloadContext } from '../data/context.js'
import { openSource } from '../data/token-data.js'
import { type RunConfig, specOf } from '../kinds/index.js'
import { below, readCheckpoint } from './checkpoint.js'
import { chooseCheckpoint } from './checkpoint-report.js'
import { type DescribedMetadata, describedMetadata, isCheckpoint } from './format.js'
import { Stored } from './pieces.js'
import { optimizerState } from './reference-optimizer.js'

/** What the file is made of. */
interface Content {
  transformer: StarConfig
  /** Of transformer and sampler head. */
  weights: ReadonlyMap<string, TorchValue>
  tokenizer: ReadonlyMap<string, TorchValue>
  /** Pixels of an image for one token of its finest scale, along a side. */
  patch: number
  /** Of a checkpoint of a run. */
  training?: { epoch: number; iteration: number; labelSmoothing: number; optimizer: TorchValue; scaler?: TorchValue }
}

function checkpointOf({ transformer, weights, tokenizer, patch, training }: Content): TorchValue {
  const { depth, patchNums, ropeTheta, ropeNorm, logitNorm, levelEmbedding, crossAttention } = transformer
  const scales = new TorchTuple(patchNums)
  return torchDict({
    epoch: training?.epoch ?? 0,
    iter: training?.iteration ?? 0,
    trainer: torchDict({
      config: torchDict({
        patch_nums: scales,
        resos: new TorchTuple(patchNums.map((p) => p * patch)),
        label_smooth: training?.labelSmoothing ?? 0,
        prog_it: 0,
        last_prog_si: -1,
        first_prog: true,
      }),
      var_wo_ddp: weights,
      vae_local: tokenizer,
      ...(training && {
        var_opt: torchDict({ ...(training.scaler && { scaler: training.scaler }), optimizer: training.optimizer }),
      }),
    }),
    args: torchDict({
      depth,
      pn: patchNums.join('_'),
      patch_nums: scales,
      patch_size: patch,
      rope_theta: ropeTheta,
      rope_norm: ropeNorm,
      logit_norm: logitNorm,
      lvl_emb: levelEmbedding,
      // Which the reference does not know: it has "first-sample" alone.
      cross_attention: crossAttention,
    }),
  })
}

type Dict = ReadonlyMap<string, TorchValue>
const dictOf = (tensors: Iterable<readonly [string, Tensor]>): Dict => torchStateDict(writables(tensors))

/** The weights of parts of a model, as they are stored but for 8 bits, which become f32; in the current scope. */
function partsOf(source: ModelSource, parts: readonly ModelPart[]): Dict {
  const tensors = new Map<string, Tensor>()
  for (const part of parts) {
    using weights = source.open(part)
    for (const [name, tensor] of inFloats(weights.tensors())) tensors.set(name, tensor)
  }
  return dictOf(tensors)
}

/** The names of the reference's module in its order, the unused embedding of classes after that of words. */
function withClassEmbedding(names: readonly string[]): string[] {
  if (names.includes(classEmbedding.name)) return [...names]
  return names.flatMap((name) => (name === 'word_embed.bias' ? [name, classEmbedding.name] : [name]))
}

/** The weights of the reference's module, whose `load_state_dict` is strict: with its unused embedding, of zeros where there is none. */
function wholeModule(weights: Dict, { width }: StarConfig): Dict {
  const shape = [classEmbedding.rows, width]
  const zeros: TorchValue = {
    ...{ name: classEmbedding.name, shape, dtype: 'f32' },
    read: () => new Uint8Array(4 * countOf(shape)),
  }
  return new Map(withClassEmbedding([...weights.keys()]).map((name) => [name, weights.get(name) ?? zeros]))
}

function ofModel(source: ModelSource): Content {
  const { path, tokenizer, transformer, samplerHead } = source
  if (!transformer)
    throw new StarError('ERR_FILE', `${path} holds no transformer: this layout has a place for one alone`)
  return {
    transformer,
    // A published file has the head among the transformer's tensors already.
    weights: wholeModule(partsOf(source, samplerHead ? ['transformer', 'sampler-head'] : ['transformer']), transformer),
    tokenizer: partsOf(source, ['tokenizer']),
    patch: downsampling(tokenizer),
  }
}

/** @param source what the run stands on */
function ofRun(file: string, { config, model, state, optimizer }: DescribedMetadata, source: ModelSource): Content {
  if (config.optimizer.kind !== 'adamw')
    throw new StarError(
      'ERR_FILE',
      `${file} holds the state of ${config.optimizer.kind}, and this layout has a place for AdamW's alone: make a model of it first (star ckpt export)`,
    )
  const checkpoint = readCheckpoint(file)
  const { shapes = {} } = checkpoint.metadata
  const whole = (prefix: string): Map<string, Tensor> => {
    const stored = new Stored(file, below(checkpoint, prefix))
    return new Map(
      Array.from(stored.names(), (name) => {
        const tensor = stored.whole(name)
        const shape = shapes[name.replace(/\.exp_avg(_sq)?$/, '')]
        return [name, shape ? reshape(tensor, shape) : tensor]
      }),
    )
  }
  const weights = whole('model.')
  const moments = whole('optimizer.')
  const transformer = parseConfig(starConfigSchema, model.transformer, `"transformer" of ${file}`)
  const head = specOf(config).part === 'sampler-head'
  const base = specOf(config).frozen.filter((part) => part !== 'tokenizer')
  const module = wholeModule(new Map([...partsOf(source, base), ...dictOf(weights)]), transformer)
  const trained = head ? [...weights.keys()] : [...module.keys()]
  const parameters = trained.flatMap((name) => {
    if (name === classEmbedding.name) return [{ name, shape: [classEmbedding.rows, transformer.width] }]
    const tensor = moments.has(`${name}.exp_avg`) && weights.get(name)
    return tensor ? [{ name, shape: tensor.shape }] : []
  })
  return {
    transformer,
    weights: module,
    tokenizer: partsOf(source, ['tokenizer']),
    patch: downsampling(source.tokenizer),
    training: {
      ...progressOf(state.task, config.optimizer.batchSize),
      labelSmoothing: (config as { labelSmoothing?: number }).labelSmoothing ?? 0,
      optimizer: optimizerState({ config: config.optimizer, step: optimizer.step, parameters, head, moments }),
      ...(state.lossScale && {
        scaler: torchDict({
          scale: state.lossScale.scale,
          growth_factor: 2,
          backoff_factor: 0.5,
          growth_interval: 1000,
          _growth_tracker: state.lossScale.good,
        }),
      }),
    },
  }
}

/** Epochs done and steps of the one under way, from the position in the data that a task keeps. */
function progressOf(task: unknown, batchSize: number): { epoch: number; iteration: number } {
  interface Place {
    epoch?: number
    position?: number
  }
  const { data = {} } = task as { data?: Place & { places?: Place[] } }
  const { epoch = 0, position = 0 } = data.places?.[0] ?? data
  return { epoch, iteration: Math.floor(position / batchSize) }
}

/**
 * Writes a model, or the checkpoint of a run with its optimizer, as a checkpoint in the layout of the reference.
 * @param path a model folder, a published checkpoint, a run folder (its newest whole checkpoint) or the file of a checkpoint
 * @returns what the file was made of
 * @throws ERR_FILE where there is none, or without a transformer, or with the state of another optimizer than AdamW
 */
export async function writeReferenceLayout(path: string, output: string, context: DownloadContext): Promise<string> {
  const isFile = statSync(path, { throwIfNoEntry: false })?.isFile() ?? false
  const isRun = isFile ? isCheckpoint(metadataOf(path)) : existsSync(join(path, 'checkpoints'))
  const file = isRun ? chooseCheckpoint(path) : path
  const described = isRun ? describedMetadata(file, metadataOf(file)) : null
  const source = described ? await sourceOf(file, described.config, context) : findModel(path)
  scope(() => {
    const content = described ? ofRun(file, described, source) : ofModel(source)
    writePartsSync(output, torchValueParts(checkpointOf(content), output))
  })
  return file
}

const metadataOf = (file: string): Readonly<Record<string, string>> => {
  using weights = openWeights(file)
  return weights.metadata
}

/** What a run stands on. @throws ERR_FILE for the run of a tokenizer, which the reference has no training for */
async function sourceOf(file: string, config: RunConfig, context: DownloadContext): Promise<ModelSource> {
  const { part, source } = specOf(config)
  const reference = part && source?.(config)
  if (reference) return openSource(reference, context)
  throw new StarError(
    'ERR_FILE',
    `${file} is of a run of kind "${config.kind}": this layout is one of transformers and sampler heads`,
  )
}
