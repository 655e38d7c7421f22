/** `npm run test:resume`: a training whose disk fills up ends with an error, and goes on exactly there once there is room. */
import { cpSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { listCheckpoints } from '../../lib/train/checkpoint/checkpointer.js'
import { Trainer } from '../../lib/train/index.js'
import { ResumedRun } from '../support/resume.js'
import { smallDiskMissing, withSmallDisk } from '../support/small-disk.js'
import { tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../support/tiny-run.js'

const worker = fileURLToPath(new URL('../support/resume-worker.js', import.meta.url))
const work = { logEvery: 1, saveEvery: 5, keep: 2, validateEvery: 0 }

t.test('a disk that fills up during a run', { skip: smallDiskMissing() }, async (t) => {
  const folder = t.testdir({ disk: {} })
  const pack = await writeTinyPack(folder)
  const tokenizer = join(folder, 'tokenizer')
  using trainer = await Trainer.open(tinyTokenizerRun(tokenizer, pack, 4))
  for await (const _ of trainer);
  const config = (runFolder: string) => ({
    ...tinyTransformerRun(runFolder, pack, join(tokenizer, 'model'), 30),
    work,
  })

  mkdirSync(join(folder, 'alone'))
  const alone = new ResumedRun(join(folder, 'alone'), config(join(folder, 'alone', 'run')))
  t.equal((await alone.run()).code, 0)

  // Room for two checkpoints and half of the third, which is written before the first is removed.
  const checkpoint = statSync(listCheckpoints(alone.runFolder)[0].file).size
  const size = `${Math.ceil((2.5 * checkpoint) / 1024)}k`
  const disk = join(folder, 'disk')
  const file = join(folder, 'full.json')
  const ids = join(folder, 'full-ids.jsonl')
  const copy = join(folder, 'copy')
  writeFileSync(file, JSON.stringify(config(join(disk, 'run'))))
  const script = `
    "$2" "$3" "$4" "$5"; echo "first $?"; ls -A "$1/run/checkpoints"
    mount -o remount,size=64m "$1"
    "$2" "$3" "$4" "$5"; echo "second $?"
    cp -r "$1/run" "$6"`
  const { stdout, stderr } = withSmallDisk(disk, size, script, [process.execPath, worker, file, ids, copy])
  t.match(stderr, /cannot be written: the disk is full/)
  t.match(stdout, /first 2\nstep-10.safetensors\nstep-5.safetensors\nsecond 0/, 'whole checkpoints alone are left')

  const resumed = new ResumedRun(folder, config(copy))
  cpSync(ids, join(folder, 'ids.jsonl'))
  t.same(resumed.tensors(), alone.tensors(), 'weights, optimizer and averages, byte for byte')
  t.same(resumed.samples(), alone.samples(), 'the same samples in the same order')
  t.same(resumed.metrics(), alone.metrics(), 'the same log')
})
