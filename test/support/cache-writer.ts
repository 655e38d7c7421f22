/** Adds entries to a record cache, as a thread or as a process of its own (`node cache-writer.js FOLDER BEGIN END`). */
import { createHash } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { RecordCache } from '../../lib/data/record-cache.js'

export const entryKey = (n: number): Buffer => createHash('sha256').update(String(n)).digest().subarray(0, 16)

export interface CacheWriterData {
  folder: string
  begin: number
  end: number
}

/** Four entries a transaction. A thread that is sent a message ends, with its cache open, before the next one. */
async function write({ folder, begin, end }: CacheWriterData): Promise<void> {
  const cache = new RecordCache(folder)
  for (let n = begin; n < end; n += 4) {
    cache.add(Array.from({ length: Math.min(4, end - n) }, (_, i) => [entryKey(n + i), Buffer.alloc(64, n + i)]))
    if (!isMainThread) await nextTurn()
  }
  cache.close()
  parentPort?.close()
}

parentPort?.once('message', () => process.exit())
if (!isMainThread) await write(workerData as CacheWriterData)
else if (process.argv[1] === import.meta.filename)
  await write({ folder: process.argv[2], begin: Number(process.argv[3]), end: Number(process.argv[4]) })
