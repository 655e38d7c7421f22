/** What `star launch` is asked to do. The flags are torchrun's; a PET_* variable of the same name stands in for a missing flag. */
import { availableParallelism } from 'node:os'
import { StarError } from '../../native/error.js'

/** Which output streams of a worker. */
export interface Streams {
  stdout: boolean
  stderr: boolean
}

/** Streams of each local rank. */
export type StreamChoice = (localRank: number) => Streams

export interface LaunchOptions {
  /** Machines: as many as `max` take part, and fewer, down to `min`, when some are missing. */
  nodes: { min: number; max: number }
  /** Processes on this machine. */
  processes: number
  /** Place of this machine among them; null: given out in the order of joining. */
  nodeRank: number | null
  masterAddr: string
  /** Port of the first machine's coordinator; 0: a free one (one machine only). */
  masterPort: number
  /** How often all workers are started again after a failure. */
  maxRestarts: number
  /** Seconds between signs of life of the machines. */
  monitorInterval: number
  /** Folder for a log file per rank; null: none is written. */
  logDir: string | null
  /** Streams that go to the log file only. */
  redirects: StreamChoice
  /** Streams that go to the log file and, with the rank in front of each line, to the console. */
  tee: StreamChoice
}

/** Flags as they come from the command line: text, or missing. */
export interface LaunchFlags {
  nnodes?: string
  nprocPerNode?: string
  nodeRank?: string
  masterAddr?: string
  masterPort?: string
  standalone?: boolean
  maxRestarts?: string
  monitorInterval?: string
  logDir?: string
  redirects?: string
  tee?: string
}

function whole(flag: string, text: string, least: number, most = 2 ** 31 - 1): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= least && value <= most))
    throw new StarError('ERR_ARGUMENT', `${flag} is "${text}", expected a whole number from ${least} to ${most}`)
  return value
}

function nodeRange(text: string): { min: number; max: number } {
  const [low, high = low, ...more] = text.split(':')
  const min = whole('--nnodes', low, 1)
  const max = whole('--nnodes', high, 1)
  if (more.length > 0 || max < min)
    throw new StarError('ERR_ARGUMENT', `--nnodes is "${text}", expected N or MIN:MAX with MIN not above MAX`)
  return { min, max }
}

function processCount(text: string, gpus: () => number): number {
  const count = () => {
    const found = gpus()
    if (found === 0)
      throw new StarError(
        'ERR_DEVICE',
        '--nproc-per-node is "gpu", but no GPU can be used here ("star info" says why): give "cpu" or a number',
      )
    return found
  }
  switch (text) {
    case 'gpu':
      return count()
    case 'cpu':
      return availableParallelism()
    case 'auto':
      return gpus() || availableParallelism()
    default:
      return whole('--nproc-per-node', text, 1)
  }
}

const streams = (flag: string, text: string): Streams => {
  const bits = whole(flag, text, 0, 3)
  return { stdout: (bits & 1) !== 0, stderr: (bits & 2) !== 0 }
}

/** 0 none, 1 standard output, 2 standard error, 3 both; or by local rank: `0:3,1:2` (the others: none). */
function streamChoice(flag: string, text: string): StreamChoice {
  if (!text.includes(':')) {
    const all = streams(flag, text)
    return () => all
  }
  const byRank = new Map(
    text.split(',').map((part) => {
      const [rank, bits = ''] = part.split(':')
      return [whole(flag, rank, 0), streams(flag, bits)] as const
    }),
  )
  return (rank) => byRank.get(rank) ?? { stdout: false, stderr: false }
}

export interface LaunchContext {
  env: Readonly<Record<string, string | undefined>>
  /** GPUs that can be used here. */
  gpus: () => number
}

/** @throws ERR_ARGUMENT for a value that is no number, out of its range, or does not go with another flag */
export function launchOptions(flags: LaunchFlags, { env, gpus }: LaunchContext): LaunchOptions {
  const get = (flag: string | undefined, variable: string, otherwise: string): string =>
    flag ?? env[variable] ?? otherwise
  const standalone = flags.standalone ?? env.PET_STANDALONE === '1'
  const nodes = nodeRange(standalone ? '1' : get(flags.nnodes, 'PET_NNODES', '1'))
  const alone = nodes.max === 1
  const rank = flags.nodeRank ?? env.PET_NODE_RANK
  const nodeRank = alone ? 0 : rank === undefined ? null : whole('--node-rank', rank, 0, nodes.max - 1)
  const address = flags.masterAddr ?? env.PET_MASTER_ADDR
  if (!alone && address === undefined)
    throw new StarError(
      'ERR_ARGUMENT',
      `--nnodes is ${nodes.max}, but --master-addr is not given: name the first machine's address`,
    )
  if (!alone && nodes.min === nodes.max && nodeRank === null)
    throw new StarError(
      'ERR_ARGUMENT',
      `--nnodes is ${nodes.max}, but --node-rank is not given: number the machines from 0 (the one of --master-addr) to ${nodes.max - 1}`,
    )
  const interval = Number(get(flags.monitorInterval, 'PET_MONITOR_INTERVAL', '5'))
  if (!(interval > 0 && interval <= 3600))
    throw new StarError(
      'ERR_ARGUMENT',
      `--monitor-interval is "${get(flags.monitorInterval, 'PET_MONITOR_INTERVAL', '5')}", expected seconds above 0, up to 3600`,
    )
  return {
    nodes,
    processes: processCount(get(flags.nprocPerNode, 'PET_NPROC_PER_NODE', '1'), gpus),
    nodeRank,
    masterAddr: alone ? '127.0.0.1' : address!,
    masterPort: alone ? 0 : whole('--master-port', get(flags.masterPort, 'PET_MASTER_PORT', '29500'), 1, 65535),
    maxRestarts: whole('--max-restarts', get(flags.maxRestarts, 'PET_MAX_RESTARTS', '0'), 0),
    monitorInterval: interval,
    logDir: flags.logDir ?? env.PET_LOG_DIR ?? null,
    redirects: streamChoice('--redirects', get(flags.redirects, 'PET_REDIRECTS', '0')),
    tee: streamChoice('--tee', get(flags.tee, 'PET_TEE', '0')),
  }
}
