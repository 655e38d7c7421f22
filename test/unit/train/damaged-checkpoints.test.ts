/** Checkpoints whose newest file is damaged: it is named, and an older whole one is taken. */
import { copyFileSync, cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import {
  checkpointEntries,
  chooseCheckpoint,
  describeCheckpoint,
} from '../../../lib/train/checkpoint/checkpoint-report.js'

const data = join(packageRoot, 'test', 'data', 'run-of-0.1')
const run = t.testdir()
cpSync(join(data, 'transformer'), run, { recursive: true })
const whole = join(run, 'checkpoints', 'step-3.safetensors')
const newest = join(run, 'checkpoints', 'step-4.safetensors')
const sound = readFileSync(whole)

function damaged(change: (bytes: Buffer) => void): void {
  const bytes = Buffer.from(sound)
  change(bytes)
  writeFileSync(newest, bytes)
}

t.test('any damaged byte of the list of checksums, and what stands before it', async (t) => {
  const begin = sound.indexOf('"checksums"')
  const end = sound.indexOf('}"', begin) + 2
  t.ok(begin > 0 && end > begin)
  for (let at = begin; at < end; at += Math.ceil((end - begin) / 60))
    for (const bit of [0, 4]) {
      damaged((bytes) => {
        bytes[at] ^= 1 << bit
      })
      t.match(checkpointEntries(run), [
        { step: 4, fault: /step-4\.safetensors/ },
        { step: 3, fault: null },
      ])
      t.equal(chooseCheckpoint(run), whole)
    }
  // The text stays JSON, of something else.
  damaged((bytes) => {
    bytes.write('"checksums":"[]    ', begin)
  })
  t.match(checkpointEntries(run)[0], { fault: /step-4\.safetensors/ })
})

t.test('any bit anywhere', async (t) => {
  const header = 8 + sound.readUInt32LE(0)
  for (let i = 0; i < 150; i++) {
    const at = i % 2 === 0 ? (i * 7919) % header : (i * 104_729) % sound.length
    damaged((bytes) => {
      bytes[at] ^= 1 << (i % 8)
    })
    t.match(
      checkpointEntries(run),
      [
        { step: 4, fault: /step-4\.safetensors/ },
        { step: 3, fault: null },
      ],
      `byte ${at}`,
    )
    try {
      describeCheckpoint(newest)
    } catch (error) {
      t.match(error, { name: 'StarError', code: 'ERR_FILE' }, `byte ${at}`)
    }
  }
})

t.test('a checkpoint of a thousand million shards', async (t) => {
  rmSync(newest, { force: true })
  const sharded = join(t.testdir(), 'run')
  cpSync(join(data, 'sharded'), sharded, { recursive: true })
  const file = join(sharded, 'checkpoints', 'step-3.safetensors')
  copyFileSync(file, `${file}.whole`)
  const bytes = readFileSync(file)
  const at = bytes.indexOf('"shards":"2"')
  t.ok(at > 0)
  // Made longer at the cost of the spaces that pad the header.
  const length = 8 + bytes.readUInt32LE(0)
  const header = bytes.subarray(8, length).toString('utf8').trimEnd().replace('"shards":"2"', '"shards":"1000000000"')
  const padded = Buffer.from(header.padEnd(Math.ceil(header.length / 8) * 8))
  const size = Buffer.alloc(8)
  size.writeUInt32LE(padded.length)
  writeFileSync(file, Buffer.concat([size, padded, bytes.subarray(length)]))
  t.match(checkpointEntries(sharded), [{ step: 3, fault: /step-3\.safetensors/ }])
  t.throws(() => describeCheckpoint(file), { code: 'ERR_FILE', message: /"shards"/ })
})
