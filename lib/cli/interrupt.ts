/** Ctrl-C: the first asks the work to stop in an orderly way, the second ends the process at once. */

/** The work was stopped by the user; the message says what was kept and how to resume. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
}

/** Work that handles SIGINT itself. */
let handling = 0

/** Ends the process with exit code 130 on SIGINT while nothing handles it. */
export function exitOnInterrupt(): void {
  process.on('SIGINT', () => {
    if (handling === 0) process.exit(130)
  })
}

/** Runs work that handles SIGINT itself; what it ends with after one counts as interrupted. */
export async function interrupted<T>(work: () => Promise<T>): Promise<T> {
  let interrupts = 0
  const count = (): void => {
    interrupts++
  }
  process.on('SIGINT', count)
  handling++
  try {
    const result = await work()
    if (interrupts > 0) throw new Interrupted('stopped')
    return result
  } catch (error) {
    if (interrupts > 0 && !(error instanceof Interrupted))
      throw new Interrupted(`stopped: ${error instanceof Error ? error.message : String(error)}`)
    throw error
  } finally {
    handling--
    process.off('SIGINT', count)
  }
}

/** Runs `work` with a signal that fires on the first SIGINT or SIGTERM. */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const stop = (name: NodeJS.Signals) => {
    if (controller.signal.aborted) process.exit(130)
    if (process.stderr.isTTY) console.error('\nstopping; press Ctrl-C again to stop at once')
    controller.abort(new Interrupted(name))
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  handling++
  try {
    return await work(controller.signal)
  } finally {
    handling--
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
  }
}
