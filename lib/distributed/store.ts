/** Small texts by key that all processes of a group see: for what is said seldom, beside the collectives. */
import { setTimeout as delay } from 'node:timers/promises'
import { StarError } from '../native/error.js'
import { native } from '../native/index.js'
import type { DistributedEnvironment } from './environment.js'

export interface Store {
  set(key: string, value: string): void
  /** Waits until some process has set the key. @throws ERR_COMM when that takes longer than the group's time-out */
  get(key: string): Promise<string>
  /** Adds to a number that begins at 0, and gives the sum. */
  add(key: string, amount: number): number
}

/** The store of a group of one. */
export class LocalStore implements Store {
  readonly #values = new Map<string, string>()

  set(key: string, value: string): void {
    this.#values.set(key, value)
  }

  async get(key: string): Promise<string> {
    for (;;) {
      const value = this.#values.get(key)
      if (value !== undefined) return value
      await delay(10)
    }
  }

  add(key: string, amount: number): number {
    const sum = Number(this.#values.get(key) ?? 0) + amount
    this.#values.set(key, String(sum))
    return sum
  }
}

/** A part of a store: the keys that begin with `scope`. */
export const scopedStore = (store: Store, scope: string): Store => ({
  set: (key, value) => store.set(scope + key, value),
  get: (key) => store.get(scope + key),
  add: (key, amount) => store.add(scope + key, amount),
})

/** The store in rank 0's process. */
export function connectStore(environment: DistributedEnvironment, timeoutSeconds: number): Store {
  const { masterAddr, masterPort, ports, job } = environment
  const store = new native.StoreClient(masterAddr, masterPort, ports, job, 1000 * timeoutSeconds)
  return {
    set: (key, value) => store.set(key, value),
    add: (key, amount) => store.add(key, amount),
    async get(key) {
      const value = await store.get(key, 1000 * timeoutSeconds)
      if (value !== null) return value
      throw new StarError(
        'ERR_COMM',
        `no process said "${key}" within ${timeoutSeconds} s: one hangs or takes longer than the time-out (STAR_COMM_TIMEOUT, in seconds)`,
      )
    },
  }
}
