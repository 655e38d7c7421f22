/** The loaders of a run: training images in random order, and held-out ones in the order of the data. */
import { accessSync, constants, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Loader, type LoaderOptions } from '../../data/index.js'
import { makeFolder } from '../../native/files.js'
import { StarError } from '../../native/index.js'
import type { DataConfig } from '../config/data.js'
import type { TaskContext } from '../kinds/task.js'
import type { RunFolder } from '../run-folder/run-folder.js'
import { DataPlace } from './place.js'

export class Loaders {
  constructor(
    readonly train: Loader,
    /** Null where the data names none. */
    readonly heldOut: Loader | null,
    /** In the training images. */
    readonly place: DataPlace,
  ) {}

  /** Training samples of an epoch over all processes; null for tars that nobody counted. */
  get sampleCount(): number | null {
    return this.train.length
  }

  dispose(): void {
    this.train.close()
    this.heldOut?.close()
  }
}

/**
 * @param cacheFolder of results made of pictures: batches whose pictures are all in it come without pixels
 * @throws ERR_FILE when data is missing, ERR_CONFIG when no image is left for training
 */
export async function openLoaders(
  config: { data: DataConfig; seed: number },
  run: RunFolder,
  context: TaskContext,
  cacheFolder: string | null = null,
): Promise<Loaders> {
  const { rank, size: ranks } = context.group
  const { packs, tars, heldOutPacks, heldOutTars, tarSamples, resolution, captionKeys, filters } = config.data
  const { workers, badShare, flip } = config.data
  const common: LoaderOptions = {
    resolution,
    captionKeys,
    filters,
    workers,
    badShare,
    cacheFolder,
    seed: config.seed,
    signal: context.signal,
    onBad: (message) => run.log(`left out: ${message}`),
  }
  const split = packs && !heldOutPacks ? 'train' : undefined
  const train = await Loader.open({ ...common, packs, tars, tarSamples, split, flip, rank, ranks })
  try {
    return new Loaders(train, await openHeldOut(), new DataPlace(train, run, context))
  } catch (error) {
    train.close()
    throw error
  }

  async function openHeldOut(): Promise<Loader | null> {
    const validation = { ...common, shuffle: false, once: true }
    if (heldOutPacks) return Loader.open({ ...validation, packs: heldOutPacks })
    if (tars) return heldOutTars ? Loader.open({ ...validation, tars: heldOutTars }) : null
    try {
      return await Loader.open({ ...validation, packs, split: 'held-out' })
    } catch (error) {
      if (error instanceof StarError && error.code === 'ERR_CONFIG') return null
      throw error
    }
  }
}

/** Where results of costly work on the data are kept: beside the data, or in the run folder where one may not write there. */
export function cacheRoot({ packs, tars }: DataConfig, run: RunFolder): string {
  const [first] = packs ?? tars!
  const folder = join(statSync(first, { throwIfNoEntry: false })?.isDirectory() ? first : dirname(first), '.star-cache')
  try {
    makeFolder(folder)
    accessSync(folder, constants.W_OK)
    return folder
  } catch {
    return run.file('cache')
  }
}
