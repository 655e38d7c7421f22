/** Two "hosts" on this machine: network namespaces with a link between them that can be slowed down and cut. */
import { execFileSync, spawnSync } from 'node:child_process'

const ip = (...args: string[]): void => {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}

/** False, or why there can be no two hosts here: the `skip` of a test. */
export function twoHostsMissing(): false | string {
  const name = `star-probe-${process.pid}`
  const made = spawnSync('ip', ['netns', 'add', name]).status === 0
  if (made) spawnSync('ip', ['netns', 'del', name])
  return made ? false : 'this system does not let it make network namespaces (needs root, and Debian: iproute2)'
}

/** False, or why the link between two hosts cannot be cut here. */
export function cutMissing(): false | string {
  return spawnSync('iptables', ['--version']).status === 0 ? false : 'iptables is not installed (Debian: iptables)'
}

let pairs = 0

export class TwoHosts {
  readonly #names: readonly [string, string]
  readonly addresses: readonly [string, string]

  constructor() {
    const id = `${process.pid}-${pairs++}`
    this.#names = [`star-a-${id}`, `star-b-${id}`]
    this.addresses = ['10.77.0.1', '10.77.0.2']
    const ends = [`sa${id}`.slice(-14), `sb${id}`.slice(-14)]
    for (const name of this.#names) ip('netns', 'add', name)
    ip(
      'link',
      'add',
      ends[0],
      'netns',
      this.#names[0],
      'type',
      'veth',
      'peer',
      'name',
      ends[1],
      'netns',
      this.#names[1],
    )
    this.#names.forEach((name, i) => {
      ip('-n', name, 'addr', 'add', `${this.addresses[i]}/24`, 'dev', ends[i])
      ip('-n', name, 'link', 'set', ends[i], 'up')
      ip('-n', name, 'link', 'set', 'lo', 'up')
    })
    this.#ends = ends
  }

  readonly #ends: readonly string[]

  /** What a command on a host is put behind. */
  on(host: 0 | 1): string[] {
    return ['ip', 'netns', 'exec', this.#names[host]]
  }

  #iptables(...args: string[]): void {
    const [program, ...rest] = [...this.on(1), 'iptables', ...args]
    execFileSync(program, rest, { stdio: ['ignore', 'ignore', 'pipe'] })
  }

  /** Drops every packet between the hosts; connections stay open and learn nothing. */
  cut(): void {
    for (const chain of ['INPUT', 'OUTPUT'])
      this.#iptables('-A', chain, '-s', '10.77.0.0/24', '-d', '10.77.0.0/24', '-j', 'DROP')
  }

  mend(): void {
    this.#iptables('-F')
  }

  /** Limits the link in both directions, as with tc: `1gbit`. */
  slow(rate: string): void {
    this.#names.forEach((name, i) => {
      execFileSync('ip', [
        ...['netns', 'exec', name, 'tc', 'qdisc', 'replace', 'dev', this.#ends[i], 'root'],
        ...['tbf', 'rate', rate, 'burst', '256kb', 'latency', '100ms'],
      ])
    })
  }

  remove(): void {
    for (const name of this.#names) {
      const { stdout } = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' })
      for (const pid of stdout.split('\n').filter(Boolean)) spawnSync('kill', ['-9', pid])
      spawnSync('ip', ['netns', 'del', name])
    }
  }

  /** Processes that run on the hosts. */
  get processes(): number[] {
    return this.#names.flatMap((name) =>
      spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).stdout.split('\n').filter(Boolean).map(Number),
    )
  }
}
