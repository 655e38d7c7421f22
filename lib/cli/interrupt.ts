/** Ctrl-C: the first asks the work to stop in an orderly way, the second ends the process at once. */

/** The work was stopped by the user; the message says what was kept and how to resume. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
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
  try {
    return await work(controller.signal)
  } finally {
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
  }
}
