/** Training from the command line, in processes of its own: from a pack to pictures, Ctrl-C and resuming, bad input. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { smallDiskMissing, withSmallDisk } from '../support/small-disk.js'
import { star, starFile } from '../support/star-command.js'
import { tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../support/tiny-run.js'

const root = t.testdir()

function writeConfig(name: string, config: Record<string, unknown>): string {
  const file = join(root, `${name}.json`)
  writeFileSync(file, JSON.stringify(config))
  return file
}

t.test('training from the command line', async (t) => {
  const pack = await writeTinyPack(root)
  const tokenizerRun = join(root, 'tokenizer')

  await t.test('Ctrl-C saves and says how to resume; the same command resumes', async (t) => {
    const config = writeConfig('tokenizer', tinyTokenizerRun(tokenizerRun, pack, 1_000_000))
    let sent = false
    const stopped = await star(['train-tokenizer', config, '--json'], {
      onOutput: (text, kill) => {
        if (!sent && text.includes('"step":2,')) {
          kill('SIGINT')
          sent = true
        }
      },
    })
    t.equal(stopped.code, 130, stopped.stderr)
    const step = Number(/stopped at step (\d+) and saved; resume with: star train-tokenizer /.exec(stopped.stderr)?.[1])
    t.ok(step >= 2, stopped.stderr)
    t.ok(stopped.stderr.trim().endsWith(`${config} --json`), 'the command is complete')
    t.same(readdirSync(join(tokenizerRun, 'checkpoints')), [`step-${step}.safetensors`])

    writeConfig('tokenizer', tinyTokenizerRun(tokenizerRun, pack, step + 2))
    const rest = await star(['train-tokenizer', config, '--json'])
    t.equal(rest.code, 0, rest.stderr)
    t.match(rest.stderr, `resuming from step ${step}`)
    const [line] = rest.stdout.split('\n')
    t.match(JSON.parse(line), { step: step + 1, loss: Number, learningRate: Number }, 'a line of JSON a step')
    t.equal(rest.stdout.trim().split('\n').at(-1), join(tokenizerRun, 'model'), 'the last line names the model')
  })

  await t.test('a transformer is trained on that tokenizer and draws', async (t) => {
    const run = join(root, 'transformer')
    const config = writeConfig('transformer', tinyTransformerRun(run, pack, join(tokenizerRun, 'model'), 3))
    const trained = await star(['train', config, '--set', 'work.logEvery=2'])
    t.equal(trained.code, 0, trained.stderr)
    const line = (step: number): RegExp =>
      new RegExp(`^step ${step} of 3, epoch \\d+, loss \\d+\\.\\d{4}, \\d+\\.\\d images/s(, \\d+ s left)?$`)
    t.match(trained.stdout.trim().split('\n'), [line(2), line(3), join(run, 'model')], 'a readable line a log interval')
    t.match((await star(['info', join(run, 'model')])).stdout, /transformer +[\d.]+ M values/)
    const out = join(root, 'picture.png')
    t.match(await star(['sample', 'a red circle', '--model', join(run, 'model'), '--out', out]), { code: 0 })
    t.equal(readFileSync(out).readUInt32BE(16), 16)
    const tokenizerOnly = await star(['sample', 'a', '--model', join(tokenizerRun, 'model'), '--out', out])
    t.equal(tokenizerOnly.code, 2)
    t.match(tokenizerOnly.stderr, /holds a tokenizer only/)
  })

  await t.test('bad configurations are refused by name before anything is written', async (t) => {
    const good = tinyTokenizerRun(join(root, 'never'), pack, 2)
    const refused = async (config: Record<string, unknown>, message: RegExp, command = 'train-tokenizer') => {
      const { code, stdout, stderr } = await star([command, writeConfig('bad', config)])
      t.equal(code, 2)
      t.equal(stdout, '')
      t.match(stderr, /^error: [^\n]+\n$/, 'one line')
      t.match(stderr, message)
    }
    await refused({ ...good, optimiser: {} }, /unknown key "optimiser": did you mean "optimizer"/)
    await refused({ ...good, optimizer: { batchSize: 4, steps: 1, learningRat: 1 } }, /did you mean "learningRate"/)
    await refused({ ...good, learningRate: 1 }, /did you mean "optimizer\.learningRate"/)
    await refused({ ...good, optimizer: { batchSize: 0, steps: 1, learningRate: 1 } }, /"optimizer\.batchSize" is 0/)
    await refused({ ...good, kind: 'tokeniser' }, /"kind" is "tokeniser"/)
    await refused(good, /describes the training of a tokenizer: run "star train-tokenizer /, 'train')
    await refused({ ...good, data: { packs: [join(root, 'nothing')], resolution: 16 } }, /nothing/)
    t.notOk(existsSync(join(root, 'never', 'checkpoints')))
    const several = await star(['launch', '--nproc-per-node', '3', 'train-tokenizer', writeConfig('several', good)])
    t.equal(several.code, 2)
    t.match(
      several.stderr,
      /error: rank [012] on .* failed \(exit code 2\): error: "optimizer\.batchSize" is 4, .* a multiple of 3/,
    )
    const missing = await star(['train', join(root, 'nothing.json')])
    t.equal(missing.code, 2)
    t.match(missing.stderr, /^error: .*nothing\.json cannot be read: there is no such file[^\n]*\n$/)
  })

  await t.test('star launch trains on two processes, and one resumes from what they saved', async (t) => {
    const run = join(root, 'two')
    const config = writeConfig('two', tinyTokenizerRun(run, pack, 4))
    const command = [
      'train-tokenizer',
      config,
      '--device',
      'cpu',
      '--set',
      'work.saveEvery=2',
      '--set',
      'optimizer.shard=true',
    ]
    const two = await star(['launch', '--nproc-per-node', '2', ...command])
    t.equal(two.code, 0, two.stderr)
    const lines = readFileSync(join(run, 'metrics.jsonl'), 'utf8').trim().split('\n')
    t.strictSame(
      lines
        .map((line) => JSON.parse(line) as { step: number; loss?: number })
        .flatMap(({ step, loss }) => (loss ? step : [])),
      [1, 2, 3, 4],
      'each step is recorded once',
    )
    t.match(JSON.parse(readFileSync(join(run, 'run.json'), 'utf8')), { processes: 2 })
    t.ok(existsSync(join(run, 'checkpoints', 'step-4.shard-1.safetensors')))
    const longer = await star([...command, '--set', 'optimizer.steps=5'])
    t.equal(longer.code, 0, longer.stderr)
    t.match(longer.stderr, /resuming from step 4/)
    t.ok(existsSync(join(run, 'model', 'tokenizer.safetensors')))
  })

  await t.test('Ctrl-C ends a launch with 130, and a server, which has nothing left to do, with 0', async (t) => {
    const program = join(root, 'waits.mjs')
    writeFileSync(program, "console.log('it waits'); setInterval(() => {}, 1000)")
    for (const [args, ready, expected] of [
      [['watch', tokenizerRun, '--port', '0'], 'Ctrl-C ends', 0],
      [['launch', '--nproc-per-node', '1', '--tee', '3', program], 'it waits', 130],
    ] as const) {
      let sent = false
      const { code, stderr } = await star(args, {
        onOutput: (text, kill) => {
          if (!sent && text.includes(ready)) {
            kill('SIGINT')
            sent = true
          }
        },
      })
      t.equal(code, expected, stderr)
      t.match(stderr, expected === 0 ? /^$/ : /^stopped(: [^\n]+)?$/m)
    }
  })

  await t.test('a run folder that cannot be made, and a tokenizer that was not trained', async (t) => {
    const config = writeConfig('no-folder', tinyTokenizerRun('/proc/x', pack, 2))
    t.match(await star(['train-tokenizer', config]), { code: 2, stderr: /^error: \/proc\/x cannot be made: [^\n]+\n$/ })
    const early = writeConfig('early', tinyTransformerRun(join(root, 'early'), pack, 'runs/none/model', 3))
    t.match(await star(['train', early]), {
      code: 2,
      stderr: /^error: there is no model "runs\/none\/model" here; .*"star train-tokenizer"[^\n]+\n$/,
    })
  })

  await t.test('a disk that is full when a checkpoint is due', { skip: smallDiskMissing() }, async (t) => {
    const disk = t.testdir()
    const config = writeConfig('full', tinyTokenizerRun(join(disk, 'run'), pack, 1))
    const script = `"$2" "$3" train-tokenizer "$4"; code=$?; cd "$1/run" && ls -A . checkpoints; exit $code`
    const { code, stdout, stderr } = withSmallDisk(disk, '64k', script, [process.execPath, starFile, config])
    t.equal(code, 2)
    t.match(stderr, /error: .*cannot be written: the disk is full[^\n]*\n$/)
    t.notMatch(stdout, /safetensors|tmp/, 'nothing half-written is left')
  })
})
