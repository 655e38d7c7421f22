/** Memory that the CPU's allocator keeps for later. */
import { native } from '../native/index.js'

/** What is kept at most where sizes change from one piece of work to the next. */
const keptAtMost = 1 << 30

/**
 * Gives memory of freed tensors back to the system when there is much of it. To be called between pieces of work whose tensors
 * differ in size, where it would lie idle: scales of a generation, generation and decoding.
 */
export function releaseIdleMemory(device = 'cpu'): void {
  if (device === 'cpu' && native.memory(device).cachedBytes > keptAtMost) native.trimMemory(device)
}
