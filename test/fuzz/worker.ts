/**
 * Attacks one target for some time in a process of its own, which may end: what it is at lies in a file that the parent reads then.
 * Arguments: JSON of `WorkerTask`. Messages to the parent: `WorkerReport`, several a second at most.
 */
import { createHash } from 'node:crypto'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { Mutator } from './mutate.js'
import { kindOf } from './target.js'
import { targets } from './targets/index.js'

export interface WorkerTask {
  target: string
  seconds: number
  seed: number
  /** Folders whose files are inputs to begin with; new ones are added to the first. */
  corpus: string[]
  /** Folder for files, and the input at hand in `current`. */
  scratch: string
}

export interface WorkerReport {
  inputs: number
  kinds: number
  corpus: number
  /** Set when an input made the target throw what it may not. */
  fault?: string
}

/** Memory of one target at work, libraries and corpus included. */
const mostMemory = 1.5e9
const mostCorpus = 3000

const task = JSON.parse(process.argv[2]) as WorkerTask
const target = targets.get(task.target)!
mkdirSync(task.scratch, { recursive: true })
const current = openSync(join(task.scratch, 'current'), 'w+')
const files = mkdtempSync(join(task.scratch, 'files-'))

/** Length and bytes; one write, so that a process that ends leaves the whole of it. */
function note(input: Buffer): void {
  const length = Buffer.alloc(4)
  length.writeUInt32LE(input.length)
  writeSync(current, Buffer.concat([length, input]), 0, input.length + 4, 0)
}

const run = await target.open(files)
const mutator = new Mutator(task.seed, target.pieces)
const inputs = [...(await target.seeds())]
for (const folder of task.corpus.filter((folder) => existsSync(folder))) {
  for (const name of readdirSync(folder)) inputs.push(readFileSync(join(folder, name)))
}
const kinds = new Set<string>()
let count = 0
const tell = (fault?: string): Promise<void> =>
  new Promise((resolve) => {
    const message: WorkerReport = { inputs: count, kinds: kinds.size, corpus: inputs.length, fault }
    process.send!(message, undefined, undefined, () => resolve())
  })

async function attempt(input: Buffer, keep: boolean): Promise<void> {
  note(input)
  count++
  const kind = await kindOf(run, input)
  const memory = process.memoryUsage.rss()
  if (memory > mostMemory) throw new Error(`${memory} bytes of memory`)
  if (kinds.has(kind) || kinds.size > 5000) return
  kinds.add(kind)
  if (!keep || inputs.length >= mostCorpus || input.length > 100_000) return
  inputs.push(input)
  writeFileSync(join(task.corpus[0], createHash('sha256').update(input).digest('hex').slice(0, 16)), input)
}

/** Says a few times a second that it goes on, with old inputs as with new ones: a slow target has minutes of old ones. */
let told = Date.now()
async function sayOn(): Promise<void> {
  if (Date.now() - told <= 300) return
  told = Date.now()
  await tell()
}

try {
  const until = Date.now() + task.seconds * 1000
  for (const input of [...inputs]) {
    await attempt(input, false)
    await sayOn()
  }
  while (Date.now() < until) {
    const chosen = mutator.pick(inputs)
    const knowing = target.mutate && mutator.below(2) === 0
    await attempt(knowing ? target.mutate!(chosen, inputs, mutator) : mutator.mutate(chosen, inputs), true)
    await sayOn()
  }
  await tell()
} catch (error) {
  await tell(error instanceof Error ? (error.stack ?? error.message) : String(error))
}
await run.close?.()
closeSync(current)
rmSync(files, { recursive: true, force: true })
process.exit(0)
