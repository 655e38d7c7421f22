/** Which of the library's notices a command prints. */
import { existsSync } from 'node:fs'

/** Where the driver on Linux lists the graphics cards. */
const gpuFolder = '/proc/driver/nvidia/gpus'

/** Why `auto` takes no GPU: worth a line only where there is one. */
export function tellOfGpu(message: string): void {
  if (existsSync(gpuFolder)) console.error(`note: ${message}`)
}
