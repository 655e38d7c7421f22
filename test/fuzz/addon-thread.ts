/** A thread that runs random programs on the addon until it is ended, in the middle of one. */
import { writeFileSync } from 'node:fs'
import { workerData } from 'node:worker_threads'
import { Random } from '../../lib/tensor/index.js'
import { runProgram } from './addon/program.js'

const { seed, note } = workerData as { seed: number; note: string }
const random = new Random(seed)
for (;;) {
  const program = Uint8Array.from({ length: 50 + Math.floor(random.next() * 900) }, () =>
    Math.floor(random.next() * 256),
  )
  writeFileSync(note, program)
  runProgram(program)
  // Promises and messages get their turn.
  await new Promise((resolve) => setImmediate(resolve))
}
