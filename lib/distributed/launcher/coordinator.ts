/**
 * Brings the machines of one launch together: gives out ranks, starts all workers at once, and after a failure stops them all
 * and starts them again. It runs beside the workers of the first machine.
 *
 *     gathering ── enough machines ──▶ running ── all finished ──▶ ended
 *         ▲                               │ a failure, a lost machine, a new one
 *         └────── all have stopped ── stopping ── no restart left ──▶ ended
 */
import type { Assignment, Failure, Link, ToCoordinator, ToNode } from './link.js'

/** How long a machine may be silent, and how long the others wait for it at the start. */
export interface Patience {
  /** Seconds without a sign of life after which a machine counts as lost. */
  silence: number
  /** Seconds to wait for the smallest number of machines. */
  join: number
  /** Seconds to wait for further machines once the smallest number is there. */
  lastCall: number
}

export const usualPatience: Patience = { silence: 30, join: 600, lastCall: 10 }

export interface CoordinatorOptions {
  nodes: { min: number; max: number }
  maxRestarts: number
  masterAddr: string
  /** A port of this machine for the workers of the next attempt. */
  freePort: () => Promise<number>
  patience: Patience
  /** Receives progress messages, a line each. */
  log: (line: string) => void
}

type NodeState = 'waiting' | 'running' | 'finished' | 'stopped'

interface Node {
  link: Link<ToNode, ToCoordinator>
  state: NodeState
  host: string
  processes: number
  nodeRank: number | null
  groupRank: number
  seen: number
}

const now = (): number => performance.now() / 1000

export class Coordinator {
  readonly #nodes = new Set<Node>()
  #phase: 'gathering' | 'running' | 'stopping' | 'ended' = 'gathering'
  #attempt = -1
  #restarts = 0
  #failure: Failure | null = null
  #gatheringSince = now()
  #lastJoin = now()
  readonly #timer: NodeJS.Timeout
  #starting = false
  #interrupted = false

  constructor(private readonly options: CoordinatorOptions) {
    this.#timer = setInterval(() => this.#tick(), 250)
  }

  /** A machine has connected. It says who it is in its first message. */
  connect(link: Link<ToNode, ToCoordinator>): void {
    let node: Node | null = null
    link.onMessage = (message) => {
      if (message.type === 'join') {
        if (!node) node = this.#join(link, message)
        return
      }
      if (!node) return
      node.seen = now()
      this.#hear(node, message)
    }
    link.onClose = (reason) => {
      if (node) this.#lose(node, reason)
    }
  }

  #join(link: Node['link'], { nodeRank, processes, host }: ToCoordinator & { type: 'join' }): Node | null {
    const problem = this.#refusal(nodeRank, host)
    if (problem) {
      this.options.log(problem)
      link.send({ type: 'end', failure: null, problem })
      link.close()
      return null
    }
    const node: Node = { link, host, processes, nodeRank, groupRank: -1, state: 'waiting', seen: now() }
    this.#nodes.add(node)
    this.#lastJoin = now()
    // A machine more in a running group: everybody starts again with it.
    if (this.#phase === 'running') {
      this.options.log(`${host} joins: all workers start again`)
      this.#stop()
    }
    return node
  }

  #refusal(nodeRank: number | null, host: string): string | null {
    const { max } = this.options.nodes
    if (this.#phase === 'ended') return `${host} came after the end of this launch`
    if (nodeRank !== null && nodeRank >= max) return `node rank ${nodeRank} of ${host} is not below ${max} (--nnodes)`
    const holder = [...this.#nodes].find((node) => nodeRank !== null && node.nodeRank === nodeRank)
    if (holder)
      return `node rank ${nodeRank} of ${host} is taken by ${holder.host}: give every machine its own --node-rank`
    if (this.#nodes.size >= max) return `${host} is one machine too many: --nnodes is ${max}`
    return null
  }

  #hear(node: Node, message: ToCoordinator): void {
    const late = 'attempt' in message && message.attempt !== this.#attempt
    if (late) return
    switch (message.type) {
      case 'failed':
        if (this.#phase === 'running') this.#fail(message.failure)
        return
      case 'finished':
        node.state = 'finished'
        if (this.#phase === 'running' && [...this.#nodes].every(({ state }) => state === 'finished'))
          this.#end(null, null)
        return
      case 'stopped':
        node.state = 'stopped'
        this.#afterStop()
        return
      case 'interrupt':
        this.#interrupt(message.signal)
        return
    }
  }

  #fail(failure: Failure): void {
    this.#failure = failure
    this.options.log(describeFailure(failure))
    this.#stop()
  }

  /** Tells every machine that runs workers to end them. */
  #stop(): void {
    this.#phase = 'stopping'
    for (const node of this.#nodes)
      if (node.state === 'running' || node.state === 'finished') node.link.send({ type: 'stop' })
    this.#afterStop()
  }

  #afterStop(): void {
    if (this.#phase !== 'stopping') return
    if ([...this.#nodes].some(({ state }) => state === 'running' || state === 'finished')) return
    if (this.#interrupted || (this.#failure && this.#restarts >= this.options.maxRestarts)) {
      this.#end(this.#failure, null)
      return
    }
    if (this.#failure) {
      this.#restarts += 1
      this.options.log(`starting all workers again, ${this.#restarts} of ${this.options.maxRestarts} times`)
    }
    this.#phase = 'gathering'
    this.#gatheringSince = now()
    this.#lastJoin = now()
    for (const node of this.#nodes) node.state = 'waiting'
    this.#tick()
  }

  #lose(node: Node, reason: string): void {
    if (!this.#nodes.delete(node) || this.#phase === 'ended') return
    node.link.close()
    const failure: Failure = { rank: null, host: node.host, reason: `lost: ${reason}`, message: '', log: null }
    if (this.#phase === 'running') this.#fail(failure)
    else {
      this.options.log(describeFailure(failure))
      this.#afterStop()
    }
  }

  #interrupt(signal: NodeJS.Signals): void {
    this.#interrupted = true
    if (this.#phase === 'gathering') this.#end(null, `stopped by ${signal} before the workers started`)
    for (const { link } of this.#nodes) link.send({ type: 'interrupt', signal })
  }

  #tick(): void {
    const { patience, nodes } = this.options
    for (const node of this.#nodes)
      if (now() - node.seen > patience.silence) this.#lose(node, `no sign of life for ${patience.silence} s`)
    if (this.#phase !== 'gathering' || this.#starting) return
    const count = this.#nodes.size
    if (count >= nodes.max || (count >= nodes.min && now() - this.#lastJoin > patience.lastCall)) void this.#start()
    else if (now() - this.#gatheringSince > patience.join) {
      const hosts = [...this.#nodes].map(({ host }) => host).join(', ')
      this.#end(
        this.#failure,
        `only ${count} of ${nodes.min} machines joined within ${patience.join} s (${hosts}): start the others with the same --master-addr and --master-port`,
      )
    }
  }

  async #start(): Promise<void> {
    this.#starting = true
    const masterPort = await this.options.freePort()
    this.#starting = false
    // A machine may have gone meanwhile.
    if (this.#phase !== 'gathering' || this.#nodes.size < this.options.nodes.min) return
    this.#attempt += 1
    this.#failure = null
    this.#phase = 'running'
    // The coordinator's own machine connects first and is rank 0 where ranks are not given: MASTER_ADDR names it.
    const order = [...this.#nodes].sort((a, b) => (a.nodeRank ?? 0) - (b.nodeRank ?? 0))
    const worldSize = order.reduce((sum, { processes }) => sum + processes, 0)
    let firstRank = 0
    order.forEach((node, groupRank) => {
      node.groupRank = groupRank
      node.state = 'running'
      const assignment: Assignment = {
        attempt: this.#attempt,
        groupRank,
        firstRank,
        worldSize,
        masterAddr: this.options.masterAddr,
        masterPort,
      }
      node.link.send({ type: 'start', assignment })
      firstRank += node.processes
    })
  }

  #end(failure: Failure | null, problem: string | null): void {
    this.#phase = 'ended'
    clearInterval(this.#timer)
    for (const { link } of this.#nodes) {
      link.send({ type: 'end', failure, problem })
      link.close()
    }
    this.#nodes.clear()
  }

  /** Signs of life to the machines, which wait for them as the coordinator waits for theirs. */
  beat(): void {
    for (const { link } of this.#nodes) link.send({ type: 'alive' })
  }
}

/** `rank 1 on host-b failed: exit code 2` with its last lines and its log. */
export function describeFailure({ rank, host, reason, message, log }: Failure): string {
  const who = rank === null ? `the machine ${host}` : `rank ${rank} on ${host}`
  const said = message === '' ? '' : `: ${message.split('\n').at(-1)}`
  return `${who} failed (${reason})${said}${log ? `; its log: ${log}` : ''}`
}
