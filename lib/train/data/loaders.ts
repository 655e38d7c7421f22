/** The loaders of a run: training images in random order, and held-out ones in the order of the data. */
import { accessSync, constants, statfsSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { Loader, type LoaderOptions, type RecordCacheOptions } from '../../data/index.js'
import { makeFolder } from '../../native/files.js'
import { StarError } from '../../native/index.js'
import type { DataConfig } from '../config/data.js'
import type { RunFolder } from '../run-folder/run-folder.js'
import type { TaskContext } from './context.js'
import { DataPosition } from './position.js'
import { trainingSizes } from './shapes.js'

export class Loaders {
  constructor(
    readonly train: Loader,
    /** Null where the data names none. */
    readonly heldOut: Loader | null,
    /** In the training images. */
    readonly position: DataPosition,
    private readonly run: RunFolder,
  ) {}

  /** Training samples of an epoch over all processes; null for tars that nobody counted. */
  get sampleCount(): number | null {
    return this.train.length
  }

  dispose(): void {
    // Samples of tars pass the filters as they are read.
    if (this.train.ownOrder)
      logLeftOut(this.run, this.train, 'samples read from the training tars, all epochs together')
    this.train.close()
    this.heldOut?.close()
  }
}

/** One line in log.txt that counts what filters leave out, where they leave out anything. */
function logLeftOut(run: RunFolder, { leftOut, length, ownOrder }: Loader, what: string): void {
  const counts = Object.entries(leftOut)
  if (counts.length === 0) return
  const total = counts.reduce((sum, [, count]) => sum + count, 0)
  const all = ownOrder || length === null ? '' : ` of ${total + length}`
  const reasons = counts.map(([name, count]) => `${name} ${count}`).join(', ')
  run.log(`filters leave out ${total}${all} ${what}: ${reasons} (data.filters of the configuration changes them)`)
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
  const { workers, badShare, flip, augment } = config.data
  if (tars && config.data.buckets && ranks > 1)
    throw new StarError(
      'ERR_CONFIG',
      `"data.buckets" of tars are for a single process, as each of ${ranks} would have batches of other shapes: make packs of the tars ("star pack")`,
    )
  const common: LoaderOptions = {
    resolution,
    buckets: config.data.buckets && trainingSizes(config.data),
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
  const train = await Loader.open({ ...common, packs, tars, tarSamples, split, flip, augment, rank, ranks })
  if (!train.ownOrder) logLeftOut(run, train, 'training images')
  try {
    return new Loaders(train, await openHeldOut(), new DataPosition(train, run, context), run)
  } catch (error) {
    train.close()
    throw error
  }

  async function openHeldOut(): Promise<Loader | null> {
    const validation = { ...common, shuffle: false, once: true }
    if (heldOutPacks) {
      const heldOut = await Loader.open({ ...validation, packs: heldOutPacks })
      logLeftOut(run, heldOut, 'held-out images')
      return heldOut
    }
    if (tars) return heldOutTars ? Loader.open({ ...validation, tars: heldOutTars }) : null
    const heldOut = await Loader.open({ ...validation, packs, split: 'held-out', mayBeEmpty: true })
    logLeftOut(run, heldOut, 'held-out images')
    if (heldOut.length !== 0) return heldOut
    heldOut.close()
    return null
  }
}

/**
 * Types of file systems that several machines share (statfs(2)): NFS, SMB, CIFS, SMB2, AFS, Ceph, Lustre, GPFS, 9P, FUSE. The
 * locks and the shared memory of LMDB do not reach across machines.
 */
const networkFileSystems = new Set([
  0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0x5346414f, 0x00c36400, 0x0bd00bd0, 0x47504653, 0x01021997, 0x65735546,
])

/** Whether a folder can hold a cache; it is made where it is missing. */
function holdsCaches(folder: string): boolean {
  try {
    makeFolder(folder)
    accessSync(folder, constants.W_OK)
    return !networkFileSystems.has(statfsSync(folder).type)
  } catch {
    return false
  }
}

/**
 * Where results of costly work on the data are kept: beside the data; in the run folder where one may not write there, or the
 * file system is shared by machines; in the user's cache folder where the run folder's is too.
 */
export function cacheRoot({ packs, tars }: DataConfig, run: RunFolder): string {
  const [first] = packs ?? tars!
  const data = statSync(first, { throwIfNoEntry: false })?.isDirectory() ? first : dirname(first)
  const own = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'star-t2i', 'records')
  const folders = [join(data, '.star-cache'), run.file('cache'), own]
  return folders.find(holdsCaches) ?? run.file('cache')
}

/** Options of the caches of a run. */
export const cacheOptions = ({ cacheGB }: DataConfig, run: RunFolder): RecordCacheOptions => ({
  limit: cacheGB && cacheGB * 1e9,
  onNote: (message) => run.log(message),
})
