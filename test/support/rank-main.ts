/** One rank of `startRanks`, as a process: `rank-main.js MODULE FUNCTION` calls the function and sends how it ended. */
import { readEnvironment } from '../../lib/distributed/environment.js'
import { StarError } from '../../lib/native/error.js'
import type { FromRank, RankFunction } from './ranks.js'

const [, , module, name] = process.argv

const send = (message: FromRank): Promise<void> =>
  new Promise((resolve, reject) => {
    process.send!(message, undefined, undefined, (error) => (error ? reject(error) : resolve()))
  })

// The test has gone: nobody wants the result.
const orphaned = (): never => process.exit(1)
process.on('disconnect', orphaned)

const input: unknown = await new Promise((resolve) =>
  process.once('message', ({ input }: { input: unknown }) => resolve(input)),
)
try {
  const work = ((await import(module)) as Record<string, RankFunction<unknown>>)[name]
  const value = await work(readEnvironment(process.env), input, (told) => send({ told }))
  await send({ value })
} catch (error) {
  const { message, stack } = error as Error
  await send({ error: { code: error instanceof StarError ? error.code : null, message, stack: stack ?? '' } })
}
// From here on nothing of the test keeps this process alive: it has to end by itself.
process.off('disconnect', orphaned)
process.disconnect()
