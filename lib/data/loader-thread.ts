/** The thread of a `Loader`: opens the data, then answers requests for batches in their order. */
import { parentPort, workerData } from 'node:worker_threads'
import { StarError } from '../native/index.js'
import { BadRecords } from './bad-records.js'
import { BucketSource } from './bucket-source.js'
import { ImageCaptionDataset } from './dataset.js'
import type { FilterCounts } from './filters.js'
import type { ThreadOptions } from './loader.js'
import { type LoadedSample, Pipeline, type PipelineBatch } from './pipeline.js'
import { RecordCache } from './record-cache.js'
import { PackSource, type SampleSource } from './source.js'
import { TarSource } from './tar-source.js'

/** To the thread: a batch, of a generation; from `state` on where it begins one. */
export interface Request {
  generation: number
  count: number
  /** Whether all samples are wanted, not this process's share. */
  whole?: boolean
  state?: unknown
}

export interface BatchMessage extends Omit<PipelineBatch, 'samples'> {
  kind: 'batch'
  generation: number
  samples: (Omit<LoadedSample, 'key'> & { key: Uint8Array | null })[]
  leftOut: FilterCounts
}

/** From the thread. */
export type Message =
  | { kind: 'ready'; length: number | null; ownOrder: boolean; state: unknown; leftOut: FilterCounts }
  | { kind: 'bad'; message: string }
  | { kind: 'error'; code: string; message: string }
  | BatchMessage

/** Where nobody knows how many records there are, the share of bad ones is taken of at least so many. */
const leastTotal = 1000

const port = parentPort!
const send = (message: Message, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer)

const asStarError = (error: unknown): StarError =>
  error instanceof StarError ? error : new StarError('ERR_INTERNAL', `loading of data failed: ${String(error)}`)

function tellError(error: unknown): void {
  const { code, message } = asStarError(error)
  send({ kind: 'error', code, message })
}

async function open(options: ThreadOptions): Promise<void> {
  let total = (): number => leastTotal
  const bad = new BadRecords(
    options.badShare,
    () => total(),
    (message) => send({ kind: 'bad', message }),
  )
  if (options.packs) {
    const dataset = await ImageCaptionDataset.open(options.packs, options)
    total = () => dataset.length + dataset.unknown.length
    for (const problem of dataset.unknown) bad.add(problem, problem)
    if (dataset.length === 0) {
      send({ kind: 'ready', length: 0, ownOrder: false, state: {}, leftOut: dataset.leftOut })
      return
    }
    if (!options.once) expectPictures(dataset, options)
    return serve(new PackSource(dataset, options), bad, options)
  }
  const source = await TarSource.open(options.tars!, options, (name, message) => bad.add(name, message))
  total = () => Math.max(leastTotal, source.seen)
  serve(source, bad, options)
}

/** @throws ERR_CONFIG for a bucket that no picture goes to: nothing would be learnt of its size */
function expectPictures(dataset: ImageCaptionDataset, { packs, buckets }: ThreadOptions): void {
  if (!buckets) return
  const counts = buckets.map(() => 0)
  for (let i = 0; i < dataset.length; i++) counts[dataset.bucket(i)]++
  const empty = counts.indexOf(0)
  if (empty < 0) return
  const text = (b: number): string => `${buckets[b].width}×${buckets[b].height}`
  const others = counts.flatMap((count, b) => (b === empty ? [] : [`${text(b)}: ${count}`]))
  throw new StarError(
    'ERR_CONFIG',
    `"data.buckets": no picture of ${packs!.join(', ')} goes to ${text(empty)} (${others.join(', ') || 'there is no other'}): leave it out, or give pictures of about its ratio of sides`,
  )
}

function serve(plain: SampleSource, bad: BadRecords, options: ThreadOptions): void {
  const source = options.buckets ? new BucketSource(plain, options.buckets.length) : plain
  const cache = options.cacheFolder === null ? null : new RecordCache(options.cacheFolder)
  const pipeline = new Pipeline(source, { ...options, cache, bad })
  const { length, ownOrder, leftOut } = source
  send({ kind: 'ready', length, ownOrder, state: source.state(), leftOut })
  // Batches may be ready in another order than they were asked for; behind one that fails there is none.
  let answered: Promise<void> = Promise.resolve()
  let failed = false
  const fail = (error: unknown): void => {
    if (!failed) tellError(error)
    failed = true
  }
  port.on('message', ({ generation, count, whole, state }: Request) => {
    if (state !== undefined) pipeline.restore(state)
    const batch = pipeline.next(count, whole)
    batch.catch(() => {})
    answered = answered.then(async () => answer(generation, await batch))
    answered.catch(fail)
  })

  function answer(generation: number, batch: Awaited<ReturnType<Pipeline['next']>>): void {
    const buffers = batch.samples.flatMap(({ pixels }) => (pixels ? [pixels.buffer as ArrayBuffer] : []))
    const samples = batch.samples.map((sample) => ({ ...sample, key: sample.key && Uint8Array.from(sample.key) }))
    send({ kind: 'batch', generation, ...batch, samples, leftOut: source.leftOut }, buffers)
  }
}

open(workerData as ThreadOptions).catch(tellError)
