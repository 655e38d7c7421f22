/** What `star ckpt` tells and does: the checkpoints of a run, the content of one, and the model for use made from it. */
import { existsSync, statSync } from 'node:fs'
import { StarError } from '../../native/index.js'
import type { LossScaleState } from '../../optim/index.js'
import { parsePieceName } from '../../optim/index.js'
import { scope } from '../../tensor/index.js'
import { type ModelFolderContent, readSafetensorsHeader } from '../../weights/index.js'
import type { DownloadContext } from '../data/context.js'
import { openSource } from '../data/token-data.js'
import { exporterOf } from '../kinds/export.js'
import { type RunConfig, specOf } from '../kinds/index.js'
import { checkpointWeights, readCheckpoint } from './checkpoint.js'
import { listCheckpoints, shardFile } from './checkpointer.js'
import { type Best, describedMetadata, parseMetadata } from './format.js'

export interface CheckpointEntry {
  step: number
  file: string
  /** With its shards. */
  bytes: number
  /** When it was written, ISO 8601. */
  written: string
  /** Whether it was the best on held-out images when it was written. */
  best: boolean
  /** What is wrong with it; null for a whole one. */
  fault: string | null
}

/** Checkpoints of a run, newest first; all of each is read. @throws ERR_FILE where there is no run */
export function checkpointEntries(runFolder: string): CheckpointEntry[] {
  return filesOf(runFolder).map(({ step, file }) => {
    const { mtime } = statSync(file)
    const entry = { step, file, bytes: bytesOf(file), written: mtime.toISOString() }
    return scope((): CheckpointEntry => {
      try {
        const { best } = readCheckpoint(file).metadata.state.validation
        return { ...entry, best: best?.step === step, fault: null }
      } catch (error) {
        if (!(error instanceof StarError)) throw error
        return { ...entry, best: false, fault: error.message }
      }
    })
  })
}

function filesOf(runFolder: string): { step: number; file: string }[] {
  if (!existsSync(`${runFolder}/checkpoints`))
    throw new StarError('ERR_FILE', `${runFolder} is no run folder: it has no folder "checkpoints"`)
  return listCheckpoints(runFolder)
}

function filesOfCheckpoint(file: string): string[] {
  const { shards = 1 } = parseMetadata(file, readSafetensorsHeader(file).metadata)
  return [file, ...Array.from({ length: shards - 1 }, (_, i) => shardFile(file, i + 1))]
}

function bytesOf(file: string): number {
  try {
    return filesOfCheckpoint(file).reduce(
      (sum, part) => sum + (statSync(part, { throwIfNoEntry: false })?.size ?? 0),
      0,
    )
  } catch (error) {
    // A header that is damaged names no shards.
    if (!(error instanceof StarError)) throw error
    return statSync(file).size
  }
}

export interface Choice {
  step?: number
  /** The best on held-out images. */
  best?: boolean
}

/**
 * The checkpoint that is meant: a file, or of a run folder the newest that is whole, or the one asked for.
 * @throws ERR_FILE where it is not there
 */
export function chooseCheckpoint(path: string, { step, best }: Choice = {}): string {
  if (statSync(path, { throwIfNoEntry: false })?.isFile()) return path
  const found = filesOf(path)
  const steps = found.map((entry) => entry.step).join(', ') || 'none'
  if (step !== undefined) {
    const entry = found.find((one) => one.step === step)
    if (!entry) throw new StarError('ERR_FILE', `${path} has no checkpoint of step ${step}; there are: ${steps}`)
    return entry.file
  }
  const entries = checkpointEntries(path)
  const whole = entries.filter(({ fault }) => fault === null)
  if (best) {
    const step = whole.map(({ file }) => bestOf(file)).find((one) => one !== null)?.step
    const entry = whole.find((one) => one.step === step)
    if (!entry)
      throw new StarError(
        'ERR_FILE',
        step === undefined
          ? `${path} has no best checkpoint: it was never validated`
          : `the best of ${path} was step ${step}, which was not kept; there are: ${steps}`,
      )
    return entry.file
  }
  if (whole.length === 0)
    throw new StarError(
      'ERR_FILE',
      `${path} has no whole checkpoint${entries.length > 0 ? `: ${entries.map(({ fault }) => fault).join('; ')}` : ''}`,
    )
  return whole[0].file
}

function bestOf(file: string): Best | null {
  return parseMetadata(file, readSafetensorsHeader(file).metadata).state.validation.best
}

/** Tensors of one kind in a checkpoint. */
export interface TensorGroup {
  tensors: number
  elements: number
  bytes: number
}

export interface CheckpointDescription {
  file: string
  kind: RunConfig['kind']
  step: number
  /** Files that it consists of. */
  files: number
  bytes: number
  /** Configuration of the run, with lengths in steps. */
  config: RunConfig
  /** What the model for use says of itself. */
  model: ModelFolderContent['config']
  groups: Record<'model' | 'optimizer' | 'ema' | 'task', TensorGroup>
  optimizerStep: number
  lossScale: LossScaleState | null
  best: Best | null
  /** Random states and the position in the data. */
  task: unknown
  tensors: { name: string; dtype: string; shape: readonly number[] }[]
}

/** What a checkpoint holds; its tensors are not read. @throws ERR_FILE for a file that is none */
export function describeCheckpoint(file: string): CheckpointDescription {
  const files = filesOfCheckpoint(file)
  const group = (): TensorGroup => ({ tensors: 0, elements: 0, bytes: 0 })
  const groups = { model: group(), optimizer: group(), ema: group(), task: group() }
  const names = new Set<string>()
  const tensors: CheckpointDescription['tensors'] = []
  for (const part of files)
    for (const { name, dtype, shape, begin, end } of readSafetensorsHeader(part).entries) {
      tensors.push({ name, dtype, shape })
      const to = groups[name.slice(0, name.indexOf('.')) as keyof typeof groups] ?? group()
      const whole = parsePieceName(name).name
      if (!names.has(whole)) to.tensors += 1
      names.add(whole)
      to.elements += shape.reduce((n, d) => n * d, 1)
      to.bytes += end - begin
    }
  const { state, config, model, optimizer } = describedMetadata(file, readSafetensorsHeader(file).metadata)
  return {
    file,
    kind: config.kind,
    step: state.step,
    files: files.length,
    bytes: bytesOf(file),
    config,
    model,
    groups,
    optimizerStep: optimizer.step,
    lossScale: state.lossScale ?? null,
    best: state.validation.best,
    task: state.task,
    tensors,
  }
}

/**
 * Writes the model for use of a checkpoint, with the averaged weights where there are some, as a run writes it at its end.
 * What the run did not train comes from where it came from then.
 * @throws ERR_FILE where the checkpoint is damaged, or that is not there any more
 */
export async function exportCheckpoint(file: string, folder: string, context: DownloadContext): Promise<void> {
  const { config, model } = describeCheckpoint(file)
  const spec = specOf(config)
  const reference = spec.source?.(config)
  const source = reference ? await openSource(reference, context) : null
  const write = await exporterOf(spec, config)
  scope(() => {
    const weights = checkpointWeights(file)
    write(folder, { config: model, trained: { namedTensors: () => weights }, frozen: {}, source })
  })
}
