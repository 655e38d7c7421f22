/** Which of the library's notices a command prints. */
import { existsSync } from 'node:fs'

/** Where the driver on Linux lists the graphics cards. */
const gpuFolder = '/proc/driver/nvidia/gpus'

/** Why `auto` takes no GPU is worth a line only where there is one; that a LoRA does not belong to the model always is. */
export function tellNotice(message: string, about: 'device' | 'lora' = 'device'): void {
  if (about === 'lora' || existsSync(gpuFolder)) console.error(`note: ${message}`)
}
