/** Which of the library's notices a command prints. */
import { existsSync } from 'node:fs'

/** Where the driver on Linux lists the graphics cards. */
const gpuFolder = '/proc/driver/nvidia/gpus'

/** Why `auto` takes no GPU is worth a line only where there is one; that a LoRA does not belong to the model, or a size, always is. */
export function tellNotice(message: string, about: 'device' | 'lora' | 'size' = 'device'): void {
  if (about !== 'device' || existsSync(gpuFolder)) console.error(`note: ${message}`)
}
