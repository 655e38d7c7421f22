/** The place of this process among those of a training, from the variables that launchers set: torchrun's, Slurm's, MPI's, Kubeflow's. */
import { createHash } from 'node:crypto'
import { StarError } from '../native/error.js'
import { firstHost, tasksOnNode } from './slurm.js'

/** What has started the processes; `env`: variables that somebody set. */
export type Launcher = 'none' | 'torchrun' | 'slurm' | 'mpi' | 'kubeflow' | 'env'

/** The place of a process among those of a training. */
export interface DistributedEnvironment {
  /** From 0 to size − 1. */
  rank: number
  /** Number of processes. */
  size: number
  /** Place among the processes of this machine, which chooses the GPU. */
  localRank: number
  /** Number of processes of this machine. */
  localSize: number
  /** Where rank 0 is reached. */
  masterAddr: string
  /** First port at which rank 0 may listen. */
  masterPort: number
  /** So many ports from `masterPort` on: rank 0 takes the first that is free. */
  ports: number
  /** Tells this training from others whose rank 0 listens at one of these ports; the same text in all its processes. */
  job: string
  /** Whose variables said all this. */
  launcher: Launcher
}

type Variables = Readonly<Record<string, string | undefined>>

/** Ports to choose from where MASTER_PORT itself is somebody else's, or is made from the number of the job. */
const manyPorts = 16
const usualPort = 29500

interface Place {
  launcher: Launcher
  rank: number
  size: number
  localRank: number
  localSize: number
  /** The variables that rank and size come from, for messages. */
  from: string
  /** Where rank 0 is, if the launcher says so. */
  master?: string
  job?: string
  /** A number of the job from which all its processes make the same port. */
  portSeed?: number
}

const given = (env: Variables, name: string): string | undefined => (env[name] === '' ? undefined : env[name])

const wrong = (message: string): never => {
  throw new StarError('ERR_CONFIG', message)
}

function whole(env: Variables, name: string, most = 2 ** 31 - 1): number | undefined {
  const text = given(env, name)
  if (text === undefined) return undefined
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(value <= most)) wrong(`${name} is "${text}", expected a whole number from 0 to ${most}`)
  return value
}

function needed(env: Variables, name: string, reason: string): number {
  return whole(env, name) ?? wrong(`${name} is not set, but ${reason}: set both, or neither`)
}

const isLoopback = (address: string): boolean => /^(localhost|127\.[\d.]+|::1)$/.test(address)

/** A number from 0 to 2^32 − 1 that depends on every character (FNV-1a). */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (const byte of Buffer.from(text)) value = Math.imul(value ^ byte, 0x01000193) >>> 0
  return value
}

/** Below the ports that Linux gives to outgoing connections, in steps of what one job may use. */
const portOf = (seed: number): number => 12000 + (seed % 1200) * manyPorts

/** RANK and WORLD_SIZE. torchrun and `star launch` set LOCAL_RANK and GROUP_RANK too. */
function fromVariables(env: Variables): Place | null {
  const size = whole(env, 'WORLD_SIZE')
  const rank = whole(env, 'RANK')
  if (rank === undefined && (size === undefined || size > 1)) return null
  if (size === undefined) return null
  const launched = given(env, 'GROUP_RANK') !== undefined && given(env, 'LOCAL_RANK') !== undefined
  const address = given(env, 'MASTER_ADDR')
  const together = size === 1 || (address !== undefined && isLoopback(address))
  const localRank = whole(env, 'LOCAL_RANK')
  return {
    launcher: launched ? 'torchrun' : 'env',
    rank: rank ?? 0,
    size,
    localRank: localRank ?? (together ? (rank ?? 0) : 0),
    localSize:
      whole(env, 'LOCAL_WORLD_SIZE') ??
      (together ? size : localRank === undefined ? 1 : needed(env, 'LOCAL_WORLD_SIZE', `LOCAL_RANK is ${localRank}`)),
    from: 'RANK and WORLD_SIZE',
    job: given(env, 'TORCHELASTIC_RUN_ID'),
  }
}

/** `mpirun` of Open MPI, MPICH (Hydra) and Intel MPI. */
function fromMpi(env: Variables): Place | null {
  const open = given(env, 'OMPI_COMM_WORLD_RANK') !== undefined
  const [rankName, sizeName, localRanks, localSizes] = open
    ? ['OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', ['OMPI_COMM_WORLD_LOCAL_RANK'], ['OMPI_COMM_WORLD_LOCAL_SIZE']]
    : ['PMI_RANK', 'PMI_SIZE', ['MPI_LOCALRANKID', 'PMI_LOCAL_RANK'], ['MPI_LOCALNRANKS', 'PMI_LOCAL_SIZE']]
  const rank = whole(env, rankName)
  if (rank === undefined) return null
  const size = needed(env, sizeName, `${rankName} is ${rank}`)
  const first = (names: readonly string[]) => names.map((name) => whole(env, name)).find((n) => n !== undefined)
  const localRank = first([...localRanks, 'LOCAL_RANK'])
  const localSize = first([...localSizes, 'LOCAL_WORLD_SIZE'])
  if (size > 1 && (localRank === undefined || localSize === undefined))
    wrong(
      `${rankName} is ${rank}, but none of ${localRanks.join(', ')} says which process of its machine this is: set LOCAL_RANK and LOCAL_WORLD_SIZE`,
    )
  const job = given(env, 'PMIX_NAMESPACE')
  const nodes = given(env, 'SLURM_JOB_NODELIST')
  return {
    launcher: 'mpi',
    rank,
    size,
    localRank: localRank ?? 0,
    localSize: localSize ?? 1,
    from: `${rankName} and ${sizeName}`,
    master: nodes && firstHost(nodes),
    job,
    portSeed: job === undefined ? undefined : hash(job),
  }
}

/** Steps of this number and above are no steps of srun: the batch script, an interactive shell. */
const firstSpecialStep = 0xfffffff0

/**
 * `srun`. Slurm sets most variables in the shell of a batch file or of salloc too, which is one process however many tasks it
 * asked for: only a step of srun has an ordinary SLURM_STEP_ID.
 */
function fromSlurm(env: Variables): Place | null {
  const step = whole(env, 'SLURM_STEP_ID', 0xffffffff)
  const rank = whole(env, 'SLURM_PROCID')
  if (step === undefined || step >= firstSpecialStep || rank === undefined) return null
  const size = whole(env, 'SLURM_STEP_NUM_TASKS') ?? needed(env, 'SLURM_NTASKS', `SLURM_PROCID is ${rank}`)
  const node = whole(env, 'SLURM_NODEID') ?? 0
  const tasks = given(env, 'SLURM_STEP_TASKS_PER_NODE')
  const localSize =
    tasks === undefined ? needed(env, 'SLURM_NTASKS_PER_NODE', `SLURM_PROCID is ${rank}`) : tasksOnNode(tasks, node)
  const nodes = given(env, 'SLURM_STEP_NODELIST') ?? given(env, 'SLURM_JOB_NODELIST') ?? given(env, 'SLURM_NODELIST')
  const job = whole(env, 'SLURM_JOB_ID', 0xffffffff) ?? whole(env, 'SLURM_JOBID', 0xffffffff) ?? 0
  return {
    launcher: 'slurm',
    rank,
    size,
    localRank: needed(env, 'SLURM_LOCALID', `SLURM_PROCID is ${rank}`),
    localSize,
    from: 'SLURM_PROCID and SLURM_STEP_NUM_TASKS',
    master: nodes && firstHost(nodes),
    job: `slurm ${job}.${step}`,
    portSeed: job + step,
  }
}

/** A Kubeflow job without a launcher in its containers: PET_* are meant for torchrun, and stand for one process a machine. */
function fromKubeflow(env: Variables): Place | null {
  const text = given(env, 'PET_NNODES')
  const rank = whole(env, 'PET_NODE_RANK')
  if (text === undefined || rank === undefined) return null
  const each = given(env, 'PET_NPROC_PER_NODE') ?? '1'
  if (each !== '1' || !/^\d+$/.test(text))
    wrong(
      `PET_NNODES is "${text}" and PET_NPROC_PER_NODE is "${each}", which a launcher reads: run "star launch train …" in the container, or set PET_NNODES to a number and PET_NPROC_PER_NODE to 1`,
    )
  return {
    launcher: 'kubeflow',
    rank,
    size: Number(text),
    localRank: 0,
    localSize: 1,
    from: 'PET_NODE_RANK and PET_NNODES',
    master: given(env, 'PET_MASTER_ADDR'),
    job: 'kubeflow',
  }
}

const single: DistributedEnvironment = {
  rank: 0,
  size: 1,
  localRank: 0,
  localSize: 1,
  masterAddr: '127.0.0.1',
  masterPort: usualPort,
  ports: 1,
  job: '',
  launcher: 'none',
}

/** The launcher whose word counts, and what stands against it. */
function choose(env: Variables): Place | null {
  const own = fromVariables(env)
  // A launcher started all of it, however its own process was started.
  if (own?.launcher === 'torchrun') return own
  // mpirun starts its helpers by srun, whose variables they hand on. srun itself sets PMI_RANK, without a local rank.
  const byMpirun = given(env, 'OMPI_COMM_WORLD_RANK') ?? given(env, 'MPI_LOCALRANKID')
  const launched = (byMpirun && fromMpi(env)) || (fromSlurm(env) ?? fromMpi(env) ?? fromKubeflow(env))
  if (!own) {
    for (const [name, value] of [
      ['RANK', launched?.rank],
      ['WORLD_SIZE', launched?.size],
    ] as const) {
      const set = whole(env, name)
      if (set === undefined) continue
      const other = name === 'RANK' ? 'WORLD_SIZE' : 'RANK'
      if (!launched) return wrong(`${name} is ${set}, but ${other} is not set: set both, or unset ${name}`)
      if (set !== value)
        wrong(`${name} is ${set}, but ${launched.from} say ${value}: unset ${name}, the launcher numbers the processes`)
    }
    if (!launched && given(env, 'LOCAL_RANK') !== undefined)
      wrong(`LOCAL_RANK is ${env.LOCAL_RANK}, but RANK and WORLD_SIZE are not set: set all three, or none`)
    return launched
  }
  if (launched && launched.size > 1 && (launched.rank !== own.rank || launched.size !== own.size))
    wrong(
      `RANK is ${own.rank} and WORLD_SIZE ${own.size}, but ${launched.from} say ${launched.rank} and ${launched.size}: unset RANK and WORLD_SIZE, the launcher numbers the processes`,
    )
  return launched && launched.size === own.size ? launched : own
}

/** The name of the job as the store knows it: with a secret, who does not know the secret does not know the job either. */
const withSecret = (job: string, secret: string | undefined): string =>
  secret === undefined ? job : `${job} ${createHash('sha256').update(secret).digest('hex')}`

/**
 * Reads where this process stands. The variables of the innermost launcher count: torchrun's (also set by `star launch` and by
 * hand) before those of mpirun, srun and Kubeflow. MASTER_ADDR and MASTER_PORT count wherever they are set; where they are not,
 * address and port come from what the launcher says of the job. Without any of these: one process. STAR_GROUP_SECRET, the same for all processes,
 * keeps others out of the group.
 * @throws ERR_CONFIG for variables that are half set, no numbers, or contradict each other
 */
export function readEnvironment(env: Variables): DistributedEnvironment {
  const place = choose(env)
  if (!place) return { ...single }
  const { launcher, rank, size, localRank, localSize, from } = place
  if (size < 1 || rank >= size)
    wrong(`${from} say rank ${rank} of ${size} processes, expected a rank from 0 to ${size - 1}`)
  if (localSize < 1 || localRank >= localSize || localSize > size)
    wrong(
      `${from} say rank ${rank} of ${size}, process ${localRank} of ${localSize} on this machine: expected a local rank below the local number, and that not above ${size}; check LOCAL_RANK and LOCAL_WORLD_SIZE`,
    )
  if (size === 1) return { ...single, launcher }
  const masterAddr =
    given(env, 'MASTER_ADDR') ??
    (localSize === size && launcher !== 'env' ? single.masterAddr : place.master) ??
    wrong(`${from} say rank ${rank} of ${size}, but MASTER_ADDR is not set: set it to the address of rank 0's machine`)
  const fixed =
    whole(env, 'MASTER_PORT', 65535) ?? (launcher === 'kubeflow' ? whole(env, 'PET_MASTER_PORT', 65535) : undefined)
  // torchrun's agent listens at MASTER_PORT itself.
  const taken = given(env, 'TORCHELASTIC_USE_AGENT_STORE') === 'True'
  const made = place.portSeed === undefined ? usualPort : portOf(place.portSeed)
  const masterPort = fixed === undefined ? made : fixed + (taken ? 1 : 0)
  const ports = fixed === undefined || taken ? manyPorts : 1
  if (masterPort < 1 || masterPort + ports > 65536)
    wrong(`MASTER_PORT is ${fixed}, expected a port from 1 to ${65536 - ports - (taken ? 1 : 0)}`)
  const job = withSecret(place.job ?? '', given(env, 'STAR_GROUP_SECRET'))
  return { rank, size, localRank, localSize, masterAddr, masterPort, ports, job, launcher }
}
