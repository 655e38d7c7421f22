/** Adds entries to a record cache, as a thread or as a process of its own (`node cache-writer.js FOLDER BEGIN END`). */
import { createHash } from 'node:crypto'
import { isMainThread, workerData } from 'node:worker_threads'
import { RecordCache } from '../../lib/data/record-cache.js'

export const entryKey = (n: number): Buffer => createHash('sha256').update(String(n)).digest().subarray(0, 16)

export interface CacheWriterData {
  folder: string
  begin: number
  end: number
}

/** Four entries a transaction. */
function write({ folder, begin, end }: CacheWriterData): void {
  using cache = new RecordCache(folder)
  for (let n = begin; n < end; n += 4)
    cache.add(Array.from({ length: Math.min(4, end - n) }, (_, i) => [entryKey(n + i), Buffer.alloc(64, n + i)]))
}

if (!isMainThread) write(workerData as CacheWriterData)
else if (process.argv[1] === import.meta.filename)
  write({ folder: process.argv[2], begin: Number(process.argv[3]), end: Number(process.argv[4]) })
