/** A thread that adds entries to a record cache, as another process does. */
import { createHash } from 'node:crypto'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { RecordCache } from '../../lib/data/record-cache.js'

export const entryKey = (n: number): Buffer => createHash('sha256').update(String(n)).digest().subarray(0, 16)

export interface CacheWriterData {
  folder: string
  begin: number
  end: number
}

if (!isMainThread) {
  const { folder, begin, end } = workerData as CacheWriterData
  using cache = new RecordCache(folder)
  for (let n = begin; n < end; n++) cache.put(entryKey(n), Buffer.alloc(64, n))
  parentPort!.postMessage('done')
}
