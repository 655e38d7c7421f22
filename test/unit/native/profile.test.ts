/** STAR_PROFILE=1: the table by op, and what counts as an operation. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { native } from '../../../lib/native/index.js'
import { operationsOf, profileTable } from '../../../lib/native/profile.js'
import { scope, zeros } from '../../../lib/tensor/index.js'

const tensors = new URL('../../../lib/tensor/index.js', import.meta.url).href

t.test('operations are two for each product of the definition', async (t) => {
  scope(() => {
    const of = (...shape: number[]) => zeros(shape).handle
    const one = (name: keyof typeof native, ...args: unknown[]): number => {
      const op = native[name] as (...args: unknown[]) => unknown
      return operationsOf(name, args, op(...args))
    }
    t.equal(one('matmul', of(5, 2, 7), of(5, 7, 3), false, false), 2 * 5 * 2 * 7 * 3)
    t.equal(one('matmul', of(7, 2), of(3, 7), true, true), 2 * 2 * 7 * 3)
    t.equal(one('matmulSum', of(5, 2, 7), of(5, 7, 3), false, false), 2 * 5 * 2 * 7 * 3)
    t.equal(one('linear', of(4, 6, 8), of(9, 8), null, false, false), 2 * 4 * 6 * 8 * 9)
    const [q, scale] = native.quantizeRows(of(9, 8))
    t.equal(one('linearInt8', of(4, 6, 8), q, scale, null, false), 2 * 4 * 6 * 8 * 9)
    t.equal(one('linearBackwardInput', of(4, 6, 9), of(9, 8), null), 2 * 4 * 6 * 8 * 9)
    t.equal(one('linearBackwardWeight', of(4, 6, 9), of(4, 6, 8), true), 2 * 4 * 6 * 8 * 9)
    const pads = [1, 1, 1, 1]
    const products = 2 * 5 * 6 * 12 * 2 * 3 * 3
    t.equal(one('conv2d', of(2, 5, 6, 4), of(12, 2, 3, 3), null, 1, pads, 2), 2 * products)
    t.equal(one('conv2dBackwardData', of(2, 5, 6, 12), of(12, 2, 3, 3), 5, 6, 1, pads, 2), 2 * products)
    t.equal(one('conv2dBackwardWeight', of(2, 5, 6, 12), of(2, 5, 6, 4), 3, 3, true, 1, pads, 2), 2 * products)
    t.equal(
      one('attention', of(2, 5, 3, 8), of(2, 7, 3, 8), of(2, 7, 3, 8), null, null, 7, 1, false),
      4 * 2 * 5 * 7 * 3 * 8,
    )
    t.equal(one('softmax', of(4, 5), 1), 0)
  })
})

t.test('ops stand by time, with rates of products alone', async (t) => {
  const ops = new Map([
    ['softmax', { calls: 2, ms: 10, operations: 0 }],
    ['matmul', { calls: 4, ms: 30, operations: 6e9 }],
  ])
  t.equal(
    profileTable(ops, 50.4),
    [
      'op       calls    ms  ms a call   share  GFLOP/s',
      'matmul       4  30.0      7.500  75.0 %    200.0',
      'softmax      2  10.0      5.000  25.0 %',
      'ops 40 ms of 50 ms since the first',
      '',
    ].join('\n'),
  )
})

t.test('a process with STAR_PROFILE=1 prints the table at its end, another one prints nothing', async (t) => {
  const script = `
    const { matmul, scope, softmax, zeros } = await import(${JSON.stringify(tensors)})
    scope(() => [1, 2, 3].map(() => softmax(matmul(zeros([64, 64]), zeros([64, 64])))))`
  const run = async (profile: string): Promise<string> => {
    const env = { ...process.env, STAR_PROFILE: profile }
    return (await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { env })).stderr
  }
  const table = await run('1')
  t.match(table, /^op +calls +ms +ms a call +share +GFLOP\/s\n/)
  t.match(table, /^matmul +3 .* % +\d+\.\d$/m)
  t.match(table, /^softmax +3 .* %$/m)
  t.equal(await run(''), '')
})
