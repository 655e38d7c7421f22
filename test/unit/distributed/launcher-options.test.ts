import t from 'tap'
import { type LaunchFlags, launchOptions } from '../../../lib/distributed/launcher/index.js'
import { StarError } from '../../../lib/native/index.js'

const read = (flags: LaunchFlags, env: Record<string, string> = {}, gpus = 0) =>
  launchOptions(flags, { env, gpus: () => gpus })

const refusal = (flags: LaunchFlags, env: Record<string, string> = {}): string => {
  try {
    read(flags, env)
  } catch (error) {
    if (error instanceof StarError) return error.message
    throw error
  }
  throw new Error(`no refusal of ${JSON.stringify(flags)}`)
}

t.test('one machine and one process unless more are asked for', async (t) => {
  t.match(read({}), { nodes: { min: 1, max: 1 }, processes: 1, nodeRank: 0, maxRestarts: 0, logDir: null })
})

t.test('gpu, cpu and auto count what is there', async (t) => {
  t.equal(read({ nprocPerNode: 'gpu' }, {}, 4).processes, 4)
  t.equal(read({ nprocPerNode: 'auto' }, {}, 4).processes, 4)
  t.equal(read({ nprocPerNode: 'auto' }).processes, read({ nprocPerNode: 'cpu' }).processes)
  t.match(refusal({ nprocPerNode: 'gpu' }), /no GPU can be used/)
})

t.test('a range of machines, with the place left to the order of joining', async (t) => {
  const options = read({ nnodes: '2:4', masterAddr: 'host-a' })
  t.match(options, { nodes: { min: 2, max: 4 }, nodeRank: null, masterAddr: 'host-a', masterPort: 29500 })
})

t.test('PET variables stand in for missing flags, and flags win', async (t) => {
  const env = { PET_NNODES: '3', PET_NODE_RANK: '2', PET_MASTER_ADDR: 'host-a', PET_NPROC_PER_NODE: '8' }
  t.match(read({}, env), { nodes: { min: 3, max: 3 }, nodeRank: 2, masterAddr: 'host-a', processes: 8 })
  t.match(read({ nprocPerNode: '2', nodeRank: '1' }, env), { nodeRank: 1, processes: 2 })
  t.match(read({ standalone: true }, env), { nodes: { min: 1, max: 1 }, nodeRank: 0, masterAddr: '127.0.0.1' })
})

t.test('streams are chosen for all ranks or by rank', async (t) => {
  const all = read({ redirects: '3' })
  t.same(all.redirects(5), { stdout: true, stderr: true })
  const some = read({ tee: '0:1,2:2' })
  t.same(some.tee(0), { stdout: true, stderr: false })
  t.same(some.tee(1), { stdout: false, stderr: false })
  t.same(some.tee(2), { stdout: false, stderr: true })
})

t.test('refusals name the flag and what was expected', async (t) => {
  t.match(refusal({ nnodes: '4:2' }), /--nnodes is "4:2".*MIN:MAX/)
  t.match(refusal({ nnodes: 'two' }), /--nnodes is "two"/)
  t.match(refusal({ nnodes: '2' }), /--master-addr is not given/)
  t.match(refusal({ nnodes: '2', masterAddr: 'host-a' }), /--node-rank is not given/)
  t.match(refusal({ nnodes: '2', masterAddr: 'host-a', nodeRank: '2' }), /--node-rank is "2".*from 0 to 1/)
  t.match(refusal({ nnodes: '2', masterAddr: 'h', nodeRank: '0', masterPort: '99999' }), /--master-port is "99999"/)
  t.match(refusal({ nprocPerNode: '0' }), /--nproc-per-node is "0"/)
  t.match(refusal({ tee: '4' }), /--tee is "4".*from 0 to 3/)
  t.match(refusal({ monitorInterval: 'often' }), /--monitor-interval is "often"/)
})
