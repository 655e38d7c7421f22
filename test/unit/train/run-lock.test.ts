/** Two trainings in one folder: the second is refused by name, and a lock whose owner is gone holds nothing. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { Trainer } from '../../../lib/train/index.js'
import { RunLock } from '../../../lib/train/run-folder/run-lock.js'
import { tinyTokenizerRun, writeTinyPack } from '../../support/tiny-run.js'

const folder = t.testdir()
let count = 0
const place = (): string => join(folder, `lock-${count++}`)
const busy = (pattern: RegExp) => ({ code: 'ERR_BUSY', message: pattern })

t.test('a lock is held until it is released', async (t) => {
  const file = place()
  const lock = RunLock.take(file, 'runs/a')
  t.throws(() => RunLock.take(file, 'runs/a'), busy(new RegExp(`runs/a is being trained by process ${process.pid} on`)))
  lock.release()
  t.notOk(existsSync(file))
  RunLock.take(file, 'runs/a').release()
})

t.test('an owner that was killed holds nothing', async (t) => {
  const file = place()
  const module = new URL('../../../lib/train/run-folder/run-lock.js', import.meta.url)
  const program = `const { RunLock } = await import(${JSON.stringify(module.href)}); RunLock.take(process.argv[1], 'runs/a'); console.log('taken'); setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  t.throws(() => RunLock.take(file, 'runs/a'), busy(new RegExp(`process ${child.pid} on ${hostname()}`)))
  child.kill('SIGKILL')
  await once(child, 'exit')
  RunLock.take(file, 'runs/a').release()
})

t.test('a number that another process has by now, another start of the machine, another machine', async (t) => {
  const file = place()
  const own = RunLock.take(file, 'runs/a', 'job 1')
  const owner = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
  own.release()
  const held = (changes: object, age = 0): string => {
    writeFileSync(file, JSON.stringify({ ...owner, ...changes }))
    const touched = new Date(Date.now() - age)
    utimesSync(file, touched, touched)
    return file
  }
  const gone = (file: string, job = ''): void => RunLock.take(file, 'runs/a', job).release()
  if (owner.born !== null) gone(held({ born: '1' }))
  if (owner.boot !== null) gone(held({ boot: 'another' }))
  const elsewhere = { host: 'elsewhere', pid: 1 }
  t.throws(() => gone(held(elsewhere)), busy(/process 1 on elsewhere since/))
  t.throws(() => gone(held(elsewhere), 'job 2'), busy(/elsewhere/))
  gone(held(elsewhere, 3_600_000))
  gone(held(elsewhere), 'job 1')
  // Still alive, but replaced by its launcher; never by itself.
  gone(held({ pid: process.ppid, born: null }), 'job 1')
  t.throws(() => gone(held({}), 'job 1'), busy(new RegExp(`process ${process.pid} on`)))
})

t.test('a lock that is half written', async (t) => {
  const file = place()
  writeFileSync(file, '{"pid":')
  t.throws(() => RunLock.take(file, 'runs/a'), busy(/another process/))
  const old = new Date(Date.now() - 120_000)
  utimesSync(file, old, old)
  RunLock.take(file, 'runs/a').release()
})

t.test('a run has one trainer at a time', async (t) => {
  const pack = await writeTinyPack(folder)
  const run = tinyTokenizerRun(join(folder, 'run'), pack, 2)
  {
    using trainer = await Trainer.open(run)
    await t.rejects(Trainer.open(run), busy(/is being trained by process/))
    t.equal(trainer.step, 0)
  }
  await t.rejects(Trainer.open({ ...run, start: { weights: join(folder, 'missing') } }), { code: 'ERR_FILE' })
  using trainer = await Trainer.open(run)
  t.equal(trainer.step, 0)
})
