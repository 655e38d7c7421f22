/** The thread that writes a checkpoint: takes its checksums, writes it beside its place and renames it. */
import { parentPort, workerData } from 'node:worker_threads'
import { StarError } from '../../native/error.js'
import type { DType } from '../../tensor/index.js'
import { safetensorsParts } from '../../weights/safetensors-writer.js'
import { writePartsSync } from '../../weights/writable.js'
import { checksums } from './checksums.js'

export interface ThreadInput {
  file: string
  tensors: { name: string; dtype: DType; shape: readonly number[]; data: ArrayBuffer }[]
  metadata: Record<string, string>
}

/** From the thread: nothing went wrong, or what did. */
export type ThreadOutput = { code: string; message: string } | null

const { file, tensors, metadata } = workerData as ThreadInput
const writable = tensors.map(({ data, ...rest }) => ({ ...rest, read: () => new Uint8Array(data) }))
let output: ThreadOutput = null
try {
  writePartsSync(file, safetensorsParts(writable, { ...metadata, checksums: checksums(writable, metadata) }))
} catch (error) {
  output = error instanceof StarError ? error : { code: 'ERR_INTERNAL', message: String(error) }
  output = { code: output.code, message: output.message }
}
parentPort!.postMessage(output)
