import t from 'tap'
import { readEnvironment } from '../../../lib/distributed/environment.js'
import { StarError } from '../../../lib/native/error.js'

const refusal = (env: Record<string, string>): string => {
  try {
    readEnvironment(env)
  } catch (error) {
    if (error instanceof StarError && error.code === 'ERR_CONFIG') return error.message
    throw error
  }
  throw new Error(`no refusal of ${JSON.stringify(env)}`)
}

t.test('no launcher: one process', async (t) => {
  const alone = { rank: 0, size: 1, localRank: 0, localSize: 1, launcher: 'none' }
  t.match(readEnvironment({}), alone)
  t.match(readEnvironment({ MASTER_ADDR: 'host-a', MASTER_PORT: '29500' }), alone, 'an address alone starts nothing')
  t.match(readEnvironment({ RANK: '', WORLD_SIZE: '' }), alone, 'empty is not set')
  t.match(readEnvironment({ WORLD_SIZE: '1' }), { rank: 0, size: 1 })
})

// What a worker of torchrun 2.x finds with --nnodes 2 --nproc-per-node 2 and a static rendezvous.
const torchrun = {
  RANK: '3',
  WORLD_SIZE: '4',
  LOCAL_RANK: '1',
  LOCAL_WORLD_SIZE: '2',
  GROUP_RANK: '1',
  GROUP_WORLD_SIZE: '2',
  ROLE_RANK: '3',
  ROLE_WORLD_SIZE: '4',
  MASTER_ADDR: 'host-a',
  MASTER_PORT: '29400',
  TORCHELASTIC_RUN_ID: 'run-7',
  TORCHELASTIC_RESTART_COUNT: '1',
  TORCHELASTIC_USE_AGENT_STORE: 'True',
}

t.test('torchrun and star launch', async (t) => {
  const place = { rank: 3, size: 4, localRank: 1, localSize: 2, masterAddr: 'host-a', launcher: 'torchrun' }
  t.same(
    readEnvironment(torchrun),
    { ...place, masterPort: 29401, ports: 16, job: 'run-7' },
    'its agent has MASTER_PORT',
  )
  t.same(readEnvironment({ ...torchrun, TORCHELASTIC_USE_AGENT_STORE: 'False' }), {
    ...place,
    masterPort: 29400,
    ports: 1,
    job: 'run-7',
  })
  const { RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, GROUP_RANK, MASTER_ADDR, MASTER_PORT } = torchrun
  const launched = { RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, GROUP_RANK, MASTER_ADDR, MASTER_PORT }
  t.same(readEnvironment(launched), { ...place, masterPort: 29400, ports: 1, job: '' })
  t.match(
    readEnvironment({
      ...torchrun,
      PET_NNODES: '2',
      PET_NODE_RANK: '0',
      PET_NPROC_PER_NODE: '2',
      SLURM_STEP_ID: '0',
      SLURM_PROCID: '1',
      SLURM_NTASKS: '2',
      SLURM_LOCALID: '0',
    }),
    place,
    'the launcher was started by another one',
  )
})

t.test('RANK and WORLD_SIZE set by hand', async (t) => {
  const two = { RANK: '1', WORLD_SIZE: '2', MASTER_PORT: '4000' }
  const place = { rank: 1, size: 2, masterPort: 4000, ports: 1, launcher: 'env' }
  t.match(readEnvironment({ ...two, MASTER_ADDR: '127.0.0.1' }), { ...place, localRank: 1, localSize: 2 })
  t.match(
    readEnvironment({ ...two, MASTER_ADDR: '10.0.0.7' }),
    { ...place, localRank: 0, localSize: 1 },
    'one a machine',
  )
  t.match(readEnvironment({ RANK: '1', WORLD_SIZE: '2', MASTER_ADDR: 'h' }), { masterPort: 29500, ports: 16 })
  t.match(refusal({ RANK: '0' }), /^RANK is 0, but WORLD_SIZE is not set/)
  t.match(refusal({ WORLD_SIZE: '2' }), /^WORLD_SIZE is 2, but RANK is not set/)
  t.match(refusal({ LOCAL_RANK: '0' }), /^LOCAL_RANK is 0, but RANK and WORLD_SIZE are not set/)
  t.match(refusal({ ...two, MASTER_ADDR: 'h', LOCAL_RANK: '0' }), /^LOCAL_WORLD_SIZE is not set, but LOCAL_RANK is 0/)
  t.match(refusal(two), /MASTER_ADDR is not set: set it to the address of rank 0's machine/)
  t.match(refusal({ ...two, RANK: '2', MASTER_ADDR: 'h' }), /rank 2 of 2 processes, expected a rank from 0 to 1/)
  t.match(refusal({ ...two, RANK: 'one' }), /^RANK is "one", expected a whole number/)
  t.match(refusal({ ...two, WORLD_SIZE: '0', RANK: '0' }), /rank 0 of 0 processes/)
  t.match(refusal({ ...two, MASTER_ADDR: 'h', MASTER_PORT: '70000' }), /^MASTER_PORT is "70000", expected .* to 65535/)
  t.match(refusal({ ...two, MASTER_ADDR: 'h', MASTER_PORT: '0' }), /^MASTER_PORT is 0, expected a port from 1/)
  t.match(refusal({ ...torchrun, LOCAL_RANK: '2' }), /process 2 of 2 on this machine.*check LOCAL_RANK/)
  t.match(refusal({ ...torchrun, LOCAL_WORLD_SIZE: '5' }), /process 1 of 5 on this machine/)
})

// What the second of two tasks on the second of two machines finds.
const slurm = {
  SLURM_JOB_ID: '4711',
  SLURM_STEP_ID: '2',
  SLURM_PROCID: '3',
  SLURM_LOCALID: '1',
  SLURM_NODEID: '1',
  SLURM_NTASKS: '4',
  SLURM_STEP_NUM_TASKS: '4',
  SLURM_STEP_TASKS_PER_NODE: '2(x2)',
  SLURM_STEP_NODELIST: 'gpu[07-08]',
  SLURM_JOB_NODELIST: 'gpu[05-08]',
}

t.test('srun', async (t) => {
  const place = readEnvironment(slurm)
  t.match(place, { rank: 3, size: 4, localRank: 1, localSize: 2, masterAddr: 'gpu07', ports: 16, launcher: 'slurm' })
  t.equal(place.job, 'slurm 4711.2')
  t.ok(place.masterPort >= 12000 && place.masterPort < 32768, 'a port that the system gives to no connection')
  const { rank, localRank, ...common } = place
  const first = { ...slurm, SLURM_PROCID: '0', SLURM_LOCALID: '0', SLURM_NODEID: '0' }
  t.same(readEnvironment(first), { ...common, rank: 0, localRank: 0 }, 'all tasks agree on the rest')
  t.not(readEnvironment({ ...slurm, SLURM_JOB_ID: '4712' }).masterPort, place.masterPort)
  t.match(readEnvironment({ ...slurm, MASTER_ADDR: '10.0.0.7', MASTER_PORT: '5000' }), {
    masterAddr: '10.0.0.7',
    masterPort: 5000,
    ports: 1,
  })
  const here = { ...slurm, SLURM_STEP_TASKS_PER_NODE: '4', SLURM_NODEID: '0', SLURM_STEP_NODELIST: 'gpu07' }
  t.match(readEnvironment(here), { masterAddr: '127.0.0.1', localSize: 4 }, 'one machine needs no name')
})

t.test('a shell of Slurm is one process', async (t) => {
  const { SLURM_STEP_ID, SLURM_STEP_NUM_TASKS, SLURM_STEP_NODELIST, SLURM_STEP_TASKS_PER_NODE, ...shell } = slurm
  const batch = { ...shell, SLURM_PROCID: '0', SLURM_LOCALID: '0', SLURM_NODEID: '0' }
  t.match(readEnvironment(batch), { rank: 0, size: 1, launcher: 'none' }, 'a batch file')
  const { SLURM_PROCID, SLURM_LOCALID, SLURM_NODEID, ...salloc } = batch
  t.match(readEnvironment(salloc), { rank: 0, size: 1, launcher: 'none' }, 'salloc')
  t.match(
    readEnvironment({ ...batch, SLURM_STEP_ID: '4294967290' }),
    { size: 1, launcher: 'none' },
    'an interactive step',
  )
})

t.test('lists of Slurm', async (t) => {
  const master = (list: string) => readEnvironment({ ...slurm, SLURM_STEP_NODELIST: list }).masterAddr
  t.equal(master('gpu[003-006,9],login'), 'gpu003')
  t.equal(master('gpu[9,003-006]'), 'gpu9')
  t.equal(master('host-a,host-b'), 'host-a')
  t.equal(master('rack[1-2]node[01-16]-ib'), 'rack1node01-ib')
  t.match(refusal({ ...slurm, SLURM_STEP_NODELIST: 'gpu[a' }), /"gpu\[a" is no list of hosts/)
  const local = (list: string, node: string) =>
    readEnvironment({ ...slurm, SLURM_STEP_TASKS_PER_NODE: list, SLURM_NODEID: node, SLURM_LOCALID: '0' }).localSize
  t.equal(local('2,1', '1'), 1)
  t.equal(local('1(x3),2', '2'), 1)
  t.equal(local('1(x2),2', '2'), 2)
  const { SLURM_STEP_TASKS_PER_NODE, ...rest } = slurm
  t.equal(readEnvironment({ ...rest, SLURM_NTASKS_PER_NODE: '2' }).localSize, 2)
  t.match(refusal(rest), /^SLURM_NTASKS_PER_NODE is not set, but SLURM_PROCID is 3/)
  t.match(refusal({ ...slurm, SLURM_STEP_TASKS_PER_NODE: '2' }), /"2" does not say how many tasks machine 1 has/)
})

t.test('mpirun of Open MPI', async (t) => {
  const ompi = {
    OMPI_COMM_WORLD_RANK: '1',
    OMPI_COMM_WORLD_SIZE: '2',
    OMPI_COMM_WORLD_LOCAL_RANK: '1',
    OMPI_COMM_WORLD_LOCAL_SIZE: '2',
    PMIX_NAMESPACE: '101449729',
    PMIX_RANK: '1',
  }
  t.match(readEnvironment(ompi), {
    rank: 1,
    size: 2,
    localRank: 1,
    localSize: 2,
    masterAddr: '127.0.0.1',
    ports: 16,
    job: '101449729',
    launcher: 'mpi',
  })
  t.not(readEnvironment({ ...ompi, PMIX_NAMESPACE: '101449730' }).masterPort, readEnvironment(ompi).masterPort)
  const far = { ...ompi, OMPI_COMM_WORLD_LOCAL_SIZE: '1', OMPI_COMM_WORLD_LOCAL_RANK: '0' }
  t.match(refusal(far), /^OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE say rank 1 of 2, but MASTER_ADDR is not set/)
  t.match(readEnvironment({ ...far, MASTER_ADDR: 'host-a' }), { masterAddr: 'host-a', localRank: 0, localSize: 1 })
  t.match(
    readEnvironment({
      ...far,
      SLURM_JOB_NODELIST: 'gpu[07-08]',
      SLURM_STEP_ID: '0',
      SLURM_PROCID: '0',
      SLURM_NTASKS: '1',
      SLURM_LOCALID: '0',
    }),
    { rank: 1, masterAddr: 'gpu07', launcher: 'mpi' },
    'in a job of Slurm, whose srun started the helpers of mpirun',
  )
})

t.test('mpirun of MPICH, and PMI by srun', async (t) => {
  const pmi = { PMI_RANK: '1', PMI_SIZE: '2', MPI_LOCALRANKID: '1', MPI_LOCALNRANKS: '2' }
  t.match(readEnvironment(pmi), {
    rank: 1,
    size: 2,
    localRank: 1,
    localSize: 2,
    masterPort: 29500,
    ports: 16,
    launcher: 'mpi',
  })
  t.match(refusal({ PMI_RANK: '1', PMI_SIZE: '2' }), /^PMI_RANK is 1, but none of MPI_LOCALRANKID, PMI_LOCAL_RANK says/)
  t.match(refusal({ PMI_RANK: '1' }), /^PMI_SIZE is not set, but PMI_RANK is 1/)
  t.match(readEnvironment({ PMI_RANK: '0', PMI_SIZE: '1' }), { rank: 0, size: 1, launcher: 'mpi' })
  t.match(readEnvironment({ ...slurm, PMI_RANK: '3', PMI_SIZE: '4' }), { rank: 3, launcher: 'slurm' })
})

t.test('a job of Kubeflow without a launcher', async (t) => {
  const pet = {
    PET_NNODES: '3',
    PET_NODE_RANK: '2',
    PET_NPROC_PER_NODE: '1',
    PET_MASTER_ADDR: 'train-node-0-0.train',
    PET_MASTER_PORT: '29400',
  }
  const place = {
    rank: 2,
    size: 3,
    localRank: 0,
    localSize: 1,
    masterAddr: 'train-node-0-0.train',
    masterPort: 29400,
    ports: 1,
    launcher: 'kubeflow',
  }
  t.match(readEnvironment(pet), place)
  t.match(
    readEnvironment({ ...pet, RANK: '2', WORLD_SIZE: '3', MASTER_ADDR: 'train-node-0-0.train', MASTER_PORT: '29400' }),
    place,
    'PyTorchJob sets both',
  )
  for (const more of [{ PET_NPROC_PER_NODE: '4' }, { PET_NPROC_PER_NODE: 'auto' }, { PET_NNODES: '1:3' }])
    t.match(refusal({ ...pet, ...more }), /which a launcher reads: run "star launch train/)
})

t.test('two launchers that do not agree', async (t) => {
  const hand = { RANK: '0', WORLD_SIZE: '4', MASTER_ADDR: 'gpu07' }
  t.match(
    refusal({ ...slurm, ...hand }),
    /^RANK is 0 and WORLD_SIZE 4, but SLURM_PROCID and SLURM_STEP_NUM_TASKS say 3 and 4: unset RANK/,
  )
  t.match(refusal({ ...slurm, WORLD_SIZE: '8' }), /^WORLD_SIZE is 8, but SLURM_PROCID and .* say 4: unset WORLD_SIZE/)
  t.match(readEnvironment({ ...slurm, WORLD_SIZE: '4' }), { rank: 3, size: 4, launcher: 'slurm' })
  t.match(readEnvironment({ ...slurm, RANK: '3', WORLD_SIZE: '4' }), { rank: 3, localRank: 1, launcher: 'slurm' })
  const one = { ...slurm, SLURM_PROCID: '0', SLURM_STEP_NUM_TASKS: '1' }
  t.match(
    readEnvironment({ ...one, ...hand }),
    { rank: 0, size: 4, launcher: 'env' },
    'one task that starts processes by hand',
  )
})
