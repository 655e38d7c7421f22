/** `star config` and the ways to name and change a configuration, in processes of their own. */
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../lib/native/index.js'
import { star } from '../support/star-command.js'

const published = join(packageRoot, 'configs', 'config_d16_256.json')
const own = join(packageRoot, 'configs', 'emoji-64.json')

t.test('a configuration is printed as it is resolved', async (t) => {
  const documented = [
    '--depth',
    '4',
    '--bs',
    '64',
    '--ep',
    '2',
    '--alng',
    '1e-4',
    '--wpe',
    '0.1',
    '--config',
    published,
  ]
  const { code, stdout, stderr } = await star(['config', ...documented, '--tf32', 'True'])
  t.equal(code, 0, stderr)
  t.match(JSON.parse(stdout), {
    kind: 'transformer',
    model: { depth: 4, width: 256 },
    optimizer: { batchSize: 64, epochs: 2, endRatio: 0.1 },
    init: { gain: 1e-4 },
  })
  t.match(stderr, /^note: --tf32 true has no effect/m)
  const set = await star(['config', own, '--set', 'optimizer.steps=3', '--set', 'name=mine'])
  t.match(JSON.parse(set.stdout), { optimizer: { steps: 3 }, name: 'mine' })
})

t.test('the JSON Schema is printed', async (t) => {
  const { code, stdout } = await star(['config', '--schema'])
  t.equal(code, 0)
  t.match(JSON.parse(stdout), { $schema: /json-schema\.org/ })
})

t.test('mistakes end with 2 and one line, before anything starts', async (t) => {
  const line = async (...args: string[]) => {
    const { code, stderr } = await star(args)
    t.equal(code, 2, stderr)
    t.equal(stderr.trim().split('\n').length, 1, stderr)
    return stderr.trim()
  }
  t.match(await line('train', published, '--bs', 'many'), /^error: --bs is "many", expected number/)
  t.match(await line('train', published, '--dpeth', '3'), /^error: unknown flag --dpeth: did you mean --depth\?/)
  t.match(await line('train-tokenizer', published), /"kind" is missing: a tokenizer is trained by/)
  t.match(await line('train-sampler', own), /describes the training of a transformer: run "star train /)
  t.match(await line('train'), /^error: no configuration was given/)
})
