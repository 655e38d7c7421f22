/** What ranks do in tests of process groups: every collective against plain sums, many at once, and what goes wrong. */
import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { DistributedEnvironment } from '../../lib/distributed/environment.js'
import { ProcessGroup, type Work } from '../../lib/distributed/process-group.js'
import { native } from '../../lib/native/index.js'
import { cast, type DType, scope, Tensor } from '../../lib/tensor/index.js'
import { testDevice as device } from './device.js'
import type { RankFunction } from './ranks.js'

const open = (env: DistributedEnvironment, timeoutSeconds = 30): Promise<ProcessGroup> =>
  ProcessGroup.connect(env, { timeoutSeconds, device })

/** Element i of what a rank gives: whole numbers whose sums over the ranks every type holds exactly, or any numbers. */
const whole = (rank: number, i: number): number => ((i * 7 + rank * 13) % 31) - 15
function fraction(rank: number, i: number): number {
  const mixed = Math.imul((i + 1) ^ (rank * 0x9e3779b9), 0x85ebca6b)
  return ((mixed ^ (mixed >>> 13)) >>> 8) / 2 ** 24 - 0.5
}

export type Values = 'whole' | 'fraction'
const elementOf = { whole, fraction }

function hostTensor(dtype: DType, count: number, value: (i: number) => number): Tensor {
  const numbers = Float32Array.from({ length: count }, (_, i) => value(i))
  if (dtype === 'i32') return Tensor.from(Int32Array.from(numbers), [count])
  if (dtype === 'u8')
    return Tensor.from(
      Uint8Array.from(numbers, (x) => x + 15),
      [count],
    )
  const exact = Tensor.from(numbers, [count])
  return dtype === 'f32' ? exact : cast(exact, dtype)
}

/** The same on the device under test. */
function tensorOf(dtype: DType, count: number, value: (i: number) => number): Tensor {
  const host = hostTensor(dtype, count, value)
  if (device === 'cpu') return host
  const tensor = Tensor.empty([count], { dtype, device })
  tensor.copyFrom(host)
  host.dispose()
  return tensor
}

/** The elements as numbers, which is found out on the CPU. */
function numbers(t: Tensor): ArrayLike<number> {
  if (t.dtype !== 'f16' && t.dtype !== 'bf16') return t.data()
  const host = Tensor.empty(t.shape, { dtype: t.dtype })
  host.copyFrom(t)
  return cast(host, 'f32').floats()
}

export interface Case {
  collective: 'allReduce' | 'broadcast' | 'reduceScatter' | 'allGather'
  dtype: DType
  /** Elements of the tensor; of a rank's part for reduceScatter and allGather. */
  count: number
  op?: 'sum' | 'max' | 'min'
  values: Values
  root?: number
  /** Output and input lie in one tensor. */
  inPlace?: boolean
}

export interface CaseResult {
  /** Largest difference to the plain result, as a multiple of what rounding may make of it; 0 for equal. */
  error: number
  /** SHA-256 of the result's bytes. */
  digest: string
}

/** Rounding of one sum, relative to it. */
const unitRoundoff: Record<DType, number> = { f32: 2 ** -24, f16: 2 ** -11, bf16: 2 ** -8, i32: 0, u8: 0, i8: 0 }
/** What f16 rounds to below its normal numbers. */
const smallest: Record<DType, number> = { f32: 0, f16: 2 ** -24, bf16: 0, i32: 0, u8: 0, i8: 0 }

/** The largest error, where every one of the size − 1 sums may round once. */
function compare(
  got: Tensor,
  dtype: DType,
  expected: (i: number) => { value: number; magnitude: number },
  sums: number,
) {
  const elements = numbers(got)
  let worst = 0
  for (let i = 0; i < elements.length; i++) {
    const { value, magnitude } = expected(i)
    const difference = Math.abs(elements[i] - value)
    if (difference === 0) continue
    const bound = sums * (unitRoundoff[dtype] * magnitude + smallest[dtype])
    worst = Math.max(worst, bound === 0 ? Number.POSITIVE_INFINITY : difference / bound)
    if (Number.isNaN(elements[i])) worst = Number.POSITIVE_INFINITY
  }
  return worst
}

function runCase(
  group: ProcessGroup,
  { collective, dtype, count, op = 'sum', values, root = 0, inPlace }: Case,
): CaseResult {
  const { rank, size } = group
  const ranks = Array.from({ length: size }, (_, r) => r)
  const total = collective === 'reduceScatter' || collective === 'allGather' ? count * size : count
  // What each rank gave after rounding to the type, with elements as they are seen in it.
  const given = ranks.map((r) =>
    numbers(hostTensor(dtype, collective === 'allGather' ? count : total, (i) => elementOf[values](r, i))),
  )
  const mine = tensorOf(dtype, collective === 'allGather' ? count : total, (i) => elementOf[values](rank, i))
  const reduced = (i: number) => {
    const all = given.map((elements) => elements[i])
    if (op === 'max') return { value: Math.max(...all), magnitude: 0 }
    if (op === 'min') return { value: Math.min(...all), magnitude: 0 }
    return { value: all.reduce((a, b) => a + b, 0), magnitude: all.reduce((a, b) => a + Math.abs(b), 0) }
  }
  const exactly = (value: number) => ({ value, magnitude: 0 })
  let result: Tensor
  let expected: (i: number) => { value: number; magnitude: number }
  let work: Work
  const part = (t: Tensor) => new Tensor(t.handle.slice(rank * count, (rank + 1) * count))
  switch (collective) {
    case 'allReduce':
      result = mine
      expected = reduced
      work = group.allReduce(mine, op)
      break
    case 'broadcast':
      result = mine
      expected = (i) => exactly(given[root][i])
      work = group.broadcast(mine, root)
      break
    case 'reduceScatter':
      result = inPlace ? part(mine) : Tensor.empty([count], { dtype, device })
      expected = (i) => reduced(rank * count + i)
      work = group.reduceScatter(result, mine)
      break
    case 'allGather': {
      result = Tensor.empty([total], { dtype, device })
      let input = mine
      if (inPlace) {
        input = part(result)
        input.copyFrom(mine)
      }
      expected = (i) => exactly(given[Math.floor(i / count)][i % count])
      work = group.allGather(result, input)
      break
    }
  }
  work.wait()
  if (!work.done) throw new Error('a work that was waited for is not done')
  const digest = createHash('sha256').update(new Uint8Array(result.handle.read())).digest('hex')
  return { error: compare(result, dtype, expected, op === 'sum' ? size - 1 : 0), digest }
}

/** All cases, in order; whether memory is as it was before. */
export const collectives: RankFunction<Case[], { results: CaseResult[]; engine: string; leaked: number }> = async (
  env,
  cases,
) => {
  const group = await open(env)
  const before = native.memory(device).liveBytes
  const results = cases.map((one) => scope(() => runCase(group, one)))
  const leaked = native.memory(device).liveBytes - before
  group.close()
  return { results, engine: group.engine, leaked }
}

/** Many works at once, of all kinds, waited for in another order; a barrier after which all have happened. */
export const manyWorks: RankFunction<never, { values: number[]; doneAfterBarrier: boolean }> = async (env) => {
  const group = await open(env)
  const count = 1000
  const tensors = Array.from({ length: 100 }, (_, k) => tensorOf('f32', count, () => env.rank + k))
  const works = tensors.map((t, k) => (k % 3 === 2 ? group.broadcast(t, k % env.size) : group.allReduce(t)))
  const last = group.barrier()
  last.wait()
  const doneAfterBarrier = works.every((work) => work.done)
  for (const work of [...works].reverse()) work.wait()
  const values = tensors.map((t) => t.floats()[count - 1])
  group.close()
  return { values, doneAfterBarrier }
}

/** A work whose tensors nobody holds any longer. */
export const disposedTensors: RankFunction<never, number> = async (env) => {
  const group = await open(env)
  const kept = Tensor.from(Float32Array.of(env.rank + 1), [1], { device })
  const before = native.memory(device).liveBytes
  const works = Array.from({ length: 20 }, () => {
    const t = tensorOf('f32', 100_000, () => 1)
    const work = group.allReduce(t)
    t.dispose()
    // Memory that were given back would be handed out and overwritten here.
    tensorOf('f32', 100_000, () => Number.NaN).dispose()
    return work
  })
  group.allReduce(kept).wait()
  for (const work of works) work.wait()
  const leaked = native.memory(device).liveBytes - before
  if (leaked !== 0) throw new Error(`${leaked} bytes are still held`)
  group.close()
  return kept.floats()[0]
}

/** Small messages beside the collectives. */
export const storeTalk: RankFunction<never, { heard: string; last: number }> = async (env) => {
  const group = await open(env)
  if (env.rank === 0) await delay(200)
  await group.store.set(`from ${env.rank}`, `hello from ${env.rank}: ü`)
  const heard = await group.store.get(`from ${(env.rank + 1) % env.size}`)
  await group.store.add('count', env.rank + 1)
  group.barrier().wait()
  const last = await group.store.add('count', 0)
  group.barrier().wait()
  group.close()
  return { heard, last }
}

/** One collective; then rank 1 ends its part in order, long before the others. */
export const unevenEnd: RankFunction<never, number> = async (env) => {
  const group = await open(env)
  const t = Tensor.from(Float32Array.of(1), [1], { device })
  group.allReduce(t).wait()
  if (env.rank !== 1) await delay(2500)
  group.close()
  return t.floats()[0]
}

export interface FaultInput {
  timeoutSeconds: number
  /** The rank that something happens to: it stays out of the collectives. */
  victim: number
}

/** All ranks meet; then all but the victim continue with collectives, until one fails. */
export const exchangeUntilFault: RankFunction<FaultInput, void> = async (env, { timeoutSeconds, victim }, tell) => {
  const group = await open(env, timeoutSeconds)
  group.barrier().wait()
  await tell({ host: process.pid })
  if (env.rank === victim) return await delay(600_000)
  const t = tensorOf('f32', 1000, () => 1)
  for (;;) group.allReduce(t).wait()
}

/** The victim fails on its own and says so by closing; what the others see. */
export const closedByFailure: RankFunction<FaultInput, void> = async (env, { timeoutSeconds, victim }) => {
  const group = await open(env, timeoutSeconds)
  group.barrier().wait()
  if (env.rank === victim) throw new Error('out of ideas')
  group.allReduce(tensorOf('f32', 1000, () => 1)).wait()
}

/** An error ends the group: every work after it fails with the same words, and closing twice is harmless. */
export const afterFault: RankFunction<FaultInput, string[]> = async (env, { timeoutSeconds, victim }, tell) => {
  const group = await open(env, timeoutSeconds)
  group.barrier().wait()
  await tell('met')
  if (env.rank === victim) {
    await delay(600_000)
    return []
  }
  const words: string[] = []
  const works = [1, 2, 3].map(() => group.allReduce(tensorOf('f32', 10, () => 1)))
  for (const work of [...works, ...works])
    try {
      work.wait()
      words.push('no error')
    } catch (error) {
      words.push((error as Error).message)
    }
  group.close()
  group.close()
  return words
}

/** Meets the others, once. */
export const meet: RankFunction<{ timeoutSeconds: number }, number> = async (env, { timeoutSeconds }, tell) => {
  const group = await open(env, timeoutSeconds)
  await tell('connected')
  const t = Tensor.from(Float32Array.of(env.rank + 1), [1], { device })
  group.allReduce(t).wait()
  group.close()
  return t.floats()[0]
}
