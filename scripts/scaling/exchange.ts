/** The exchange of gradients behind backward: bucket by bucket, and by a formula. Times in milliseconds. */

/** What a bucket weighs, and when backward, which begins at 0, has filled it. */
export interface ReadyBucket {
  bytes: number
  readyMs: number
}

/**
 * When each bucket's exchange ends: one begins when its bucket is ready and the one before it has ended.
 * @param cost of a bucket of so many bytes
 */
export function replay(buckets: readonly ReadyBucket[], cost: (bytes: number) => number): number[] {
  let free = 0
  return buckets.map(({ bytes, readyMs }) => {
    free = Math.max(free, readyMs) + cost(bytes)
    return free
  })
}

/**
 * What the exchange adds to a backward of B ms, of buckets with costs t₁ … tₙ of which the first is ready at r₁:
 *
 *     exposed = max(tₙ, r₁ + Σ tᵢ − B)
 *
 * The last bucket is full when backward ends, so nothing hides it; and a link that is never idle from r₁ on ends at r₁ + Σ tᵢ.
 * Never more than what `replay` finds, and less only where the link waits for a bucket and is late after that.
 */
export function exposed(buckets: readonly ReadyBucket[], backwardMs: number, cost: (bytes: number) => number): number {
  const costs = buckets.map(({ bytes }) => cost(bytes))
  const sum = costs.reduce((a, b) => a + b, 0)
  return Math.max(costs[costs.length - 1], buckets[0].readyMs + sum - backwardMs)
}

/** How GPUs are connected. */
export interface Network {
  name: string
  /** GPUs of a machine, and bytes a second that each sends to the others of it. */
  perMachine: number
  inside: number
  /** Bytes a second that each GPU sends to other machines. */
  between: number
  /** Seconds that a message takes besides its bytes. */
  latencyInside: number
  latencyBetween: number
}

/**
 * Milliseconds of an all-reduce of so many bytes over n GPUs, G on each of M machines: the parts are summed up in every machine,
 * exchanged by a ring between machines, G rings side by side, and spread in the machine again. Each is as fast as a ring can be
 * (Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009):
 *
 *     2·(G − 1)/G·bytes/inside + 2·(M − 1)/M·bytes/(G·between) + 2·(G − 1)·αᵢ + 2·(M − 1)·αₘ
 */
export function allReduceMs(bytes: number, gpus: number, network: Network): number {
  const { perMachine, inside, between, latencyInside, latencyBetween } = network
  const g = Math.min(gpus, perMachine)
  const m = gpus / g
  const local = (2 * (g - 1) * bytes) / (g * inside) + 2 * (g - 1) * latencyInside
  const far = (2 * (m - 1) * bytes) / (m * g * between) + 2 * (m - 1) * latencyBetween
  return 1000 * (local + far)
}
