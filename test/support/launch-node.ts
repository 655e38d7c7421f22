/** One machine of a launch, as a process: `launch-node.js '{"flags": …, "patience": …, "command": […]}'`. */
import { launch, launchOptions } from '../../lib/distributed/launcher/index.js'

const { flags, patience, command } = JSON.parse(process.argv[2])
const options = launchOptions(flags, { env: {}, gpus: () => 0 })
try {
  await launch([process.execPath, ...command], options, { patience, log: (line) => console.error(`launch: ${line}`) })
} catch (error) {
  console.error(`error: ${(error as Error).message}`)
  process.exitCode = 2
}
