/**
 * What the rest of the program knows of a kind of training: configuration, command, part of a model. It loads neither models
 * nor the native addon; what opens the data and trains is loaded when a run begins.
 */
import type { z } from 'zod'
import type { ModelSource } from '../../models/source.js'
import type { ModelFolderContent, ModelPart, NamedTensors } from '../../weights/index.js'
import type { CommonConfig } from '../config/common.js'
import type { Resolved } from '../config/resolve.js'
import type { TaskContext } from '../data/context.js'
import type { SourceReference } from '../data/token-data.js'
import type { RunFolder } from '../run-folder/run-folder.js'
import type { FrozenParts, Task } from './task.js'

/** The opened data of a run. */
export interface RunData {
  /** Training samples of an epoch over all processes; null where only reading all of them tells. */
  readonly sampleCount: number | null
  dispose(): void
}

/** The module of a kind that does the work: data first, then, once lengths are in steps, the task. */
export interface RunModule<Config extends CommonConfig = CommonConfig, Data extends RunData = RunData> {
  /** @throws ERR_CONFIG and ERR_FILE for what the data or the models that the run stands on lack */
  openData(config: Config, run: RunFolder, context: TaskContext): Promise<Data>
  /** The data is the task's from then on. */
  createTask(config: Resolved<Config>, data: Data, context: TaskContext): Task
  /** Writes what the run makes into a folder, where that is no model of its own. Default: a model folder. */
  exportTo?(folder: string, config: Config, exported: Exported): void
}

/** What a run has to make the thing for use from. */
export interface Exported {
  /** What the model says of itself. */
  config: ModelFolderContent['config']
  /** The weights of what was trained, in f32. */
  trained: NamedTensors
  /** Parts that were not trained, as far as they are at hand; the others are read from `source`. */
  frozen: FrozenParts
  source: ModelSource | null
}

export interface RunSpec<Config extends CommonConfig = CommonConfig, Data extends RunData = RunData> {
  /** What is trained, in words. */
  readonly title: string
  readonly command: { readonly name: string; readonly description: string; readonly example: string }
  /** Of its configurations, which name the kind as `kind`. */
  readonly schema: z.ZodObject & z.ZodType<Config>
  /** The part of a model that is trained; null where that is no part of its own, such as updates of one. */
  readonly part: ModelPart | null
  /** The parts that are taken from `source` as they are. */
  readonly frozen: readonly ModelPart[]
  /** The model that the run stands on. */
  source?(config: Config): SourceReference
  /** The figure on held-out images by which the best checkpoint is chosen, and whether more of it is better. */
  readonly deciding: { readonly metric: string; readonly more: boolean }
  /** Turns its own lengths from epochs into steps. */
  resolve?(config: Resolved<Config>, stepsPerEpoch: number | null): Resolved<Config>
  load(): Promise<RunModule<Config, Data>>
}
