/** The thread that writes the model of a checkpoint: reading and writing weights would keep the server from answering. */
import { parentPort, workerData } from 'node:worker_threads'
import { sentError } from '../../engine/messages.js'
import { chooseCheckpoint, exportCheckpoint } from '../../train/checkpoint/checkpoint-report.js'

export interface ExportInput {
  runFolder: string
  /** Where the model folder is written. */
  out: string
}

const { runFolder, out } = workerData as ExportInput
try {
  await exportCheckpoint(chooseCheckpoint(runFolder), out, {
    onProgress: () => {},
    signal: new AbortController().signal,
  })
  parentPort!.postMessage(null)
} catch (error) {
  parentPort!.postMessage(sentError(error))
}
