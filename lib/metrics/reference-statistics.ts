/** Statistics of sets of pictures that drawn ones are compared with, kept so that each set is looked at once. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import type { RgbImage } from '../data/index.js'
import { makeFolder } from '../native/files.js'
import type { FeatureNetwork } from './features.js'
import { FeatureStatistics } from './statistics.js'

/** Where they are kept: in `star-t2i` of XDG_CACHE_HOME or ~/.cache. */
const folder = (): string =>
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'star-t2i', 'feature-statistics')

/** Pictures that are measured together. */
export const pictureBatch = 16

/** Features of pictures as they come. */
export class FeatureCollector {
  readonly statistics: FeatureStatistics
  #waiting: RgbImage[] = []

  constructor(private readonly network: FeatureNetwork) {
    this.statistics = new FeatureStatistics(network.size)
  }

  add(image: RgbImage): void {
    this.#waiting.push(image)
    if (this.#waiting.length >= pictureBatch) this.flush()
  }

  /** Takes in what waits for a full batch. */
  flush(): FeatureStatistics {
    if (this.#waiting.length > 0) this.statistics.add(this.network.features(this.#waiting))
    this.#waiting = []
    return this.statistics
  }
}

/**
 * Statistics of a set from the cache, or from its pictures, and then kept.
 * @param identity all that decides which pictures the set holds
 */
export async function referenceStatistics(
  network: FeatureNetwork,
  identity: unknown,
  pictures: () => AsyncIterable<RgbImage>,
): Promise<FeatureStatistics> {
  const key = createHash('sha256')
    .update(JSON.stringify([network.fingerprint, identity]))
    .digest('hex')
    .slice(0, 32)
  const file = join(folder(), `${key}.statistics`)
  if (existsSync(file)) return FeatureStatistics.read(file).statistics
  const collector = new FeatureCollector(network)
  for await (const picture of pictures()) collector.add(picture)
  const statistics = collector.flush()
  makeFolder(dirname(file))
  statistics.write(file)
  return statistics
}
