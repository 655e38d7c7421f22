/** Checkpoints of runs: files as they are, and metadata that was changed and then summed up anew, so that damage reaches its readers. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../../lib/native/index.js'
import {
  checkpointEntries,
  chooseCheckpoint,
  describeCheckpoint,
} from '../../../lib/train/checkpoint/checkpoint-report.js'
import { checksums } from '../../../lib/train/checkpoint/checksums.js'
import type { FuzzTarget } from '../target.js'

const run = join(packageRoot, 'test', 'data', 'run-of-0.1', 'sharded')
const name = 'step-3.safetensors'
const sources = ['format', 'checksums', 'checkpoint', 'checkpoint-report', 'pieces'].map(
  (file) => `lib/train/checkpoint/${file}.js`,
)
const pieces = [
  '"shards":"',
  '"shapes":"',
  '"state":"',
  '"optimizer":"',
  '\\"step\\":',
  '\\"validation\\":',
  '[0:8]',
  'model.',
  'ema.',
]

function read(folder: string): string {
  const file = join(folder, 'checkpoints', name)
  const entries = checkpointEntries(folder)
  describeCheckpoint(file)
  chooseCheckpoint(folder)
  return `read ${entries.length} ${entries[0]?.fault === null}`
}

export const checkpointFile: FuzzTarget = {
  name: 'checkpoint',
  sources,
  pieces,
  seeds: () => [readFileSync(join(run, 'checkpoints', name))],
  open: (scratch) => {
    cpSync(run, scratch, { recursive: true })
    return {
      run: (input) => {
        writeFileSync(join(scratch, 'checkpoints', name), input)
        return read(scratch)
      },
    }
  },
}

export const checkpointMetadata: FuzzTarget = {
  name: 'checkpoint-meta',
  sources,
  pieces,
  seeds: () => {
    const bytes = readFileSync(join(run, 'checkpoints', name))
    const header = JSON.parse(bytes.subarray(8, 8 + bytes.readUInt32LE(0)).toString('utf8'))
    const { checksums: _, ...metadata } = header.__metadata__
    return [Buffer.from(JSON.stringify(metadata))]
  },
  open: (scratch) => {
    cpSync(run, scratch, { recursive: true })
    const file = join(scratch, 'checkpoints', name)
    return {
      run: (input) => {
        let metadata: Record<string, string>
        try {
          metadata = JSON.parse(input.toString('utf8'))
        } catch {
          return 'no JSON'
        }
        if (typeof metadata !== 'object' || metadata === null) return 'no object'
        const texts = Object.entries(metadata).filter(
          ([key, value]) => typeof value === 'string' && key !== '__proto__',
        )
        metadata = Object.fromEntries(texts)
        const header = JSON.stringify({ __metadata__: { ...metadata, checksums: checksums([], metadata) } })
        const padded = Buffer.from(header.padEnd(Math.ceil(header.length / 8) * 8))
        const size = Buffer.alloc(8)
        size.writeUInt32LE(padded.length)
        writeFileSync(file, Buffer.concat([size, padded]))
        return read(scratch)
      },
    }
  },
}
