/** The native addon under attack by programs of calls (addon/program.ts), on several threads at once. */
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { native } from '../../../lib/native/index.js'
import { runProgram } from '../addon/program.js'
import type { FuzzTarget } from '../target.js'

/** Other threads that run programs of their own all the while. */
const threads = 2

export const addon: FuzzTarget = {
  name: 'addon',
  sources: [],
  seeds: () =>
    Array.from({ length: 12 }, (_, i) =>
      Buffer.from(Uint8Array.from({ length: 600 }, (_, k) => (Math.imul(i * 7919 + k + 1, 0x9e3779b1) >>> 13) & 255)),
    ),
  open: (scratch) => {
    const workers = Array.from(
      { length: threads },
      (_, i) =>
        new Worker(join(import.meta.dirname, '..', 'addon-thread.js'), {
          workerData: { seed: process.pid * 10 + i, note: join(scratch, `thread-${i}`) },
        }),
    )
    let failure: Error | null = null
    for (const worker of workers) {
      worker.unref()
      worker.on('error', (error) => {
        failure = error
      })
    }
    return {
      run: (input) => {
        if (failure) throw failure
        const kind = runProgram(input)
        const { liveBytes } = native.memory('cpu')
        if (liveBytes > 1e9) throw new Error(`${liveBytes} bytes are left behind`)
        return kind
      },
      // Ends them while they work.
      close: async () => {
        await Promise.all(workers.map((worker) => worker.terminate()))
      },
    }
  },
}
