/** The entrance for run configurations: files of this program, what is set in them, and what is refused. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readRunConfig, resolveRunConfig } from '../../../lib/train/run-config.js'
import { tinySamplerRun, tinyTransformerRun } from '../../support/tiny-run.js'

const own = tinyTransformerRun('run', 'pack', 'tokenizer', 5)

t.test('a file of this program', async (t) => {
  const { config, notices } = resolveRunConfig({ $schema: '../schema.json', ...own }, 'own.json')
  t.match(config, { kind: 'transformer', optimizer: { steps: 5, batchSize: 4 }, runFolder: 'run' })
  t.notOk('$schema' in config)
  t.same(notices, [])
  const file = join(t.testdir(), 'own.json')
  writeFileSync(file, JSON.stringify(own))
  t.same(readRunConfig(file, { kind: 'transformer' }).config, config)
  t.same(resolveRunConfig(config, 'again').config, config, 'a resolved configuration stands for itself')
})

t.test('a file may hold comments', async (t) => {
  const file = join(t.testdir(), 'own.json')
  const text = JSON.stringify({ ...own, name: 'no // comment' })
  writeFileSync(file, `// of a kind\n/* two\nlines */ ${text.replace(',', ', // and more\n')}`)
  t.match(readRunConfig(file).config, { name: 'no // comment', optimizer: { steps: 5 } })
  writeFileSync(file, '{\n  /* one\n two */ "kind" oops\n}')
  t.throws(() => readRunConfig(file), { code: 'ERR_CONFIG', message: /at line 3, column 16|JSON/ })
})

t.test('keys are set by dotted names', async (t) => {
  const set = (...pairs: [string, string][]) => resolveRunConfig(own, 'own.json', { set: pairs }).config
  t.equal(set(['optimizer.batchSize', '16']).optimizer.batchSize, 16)
  t.equal(set(['runFolder', 'some/where']).runFolder, 'some/where')
  t.same(set(['data.packs', '["a","b"]']).data.packs, ['a', 'b'])
  t.equal(set(['name', '"12"']).kind, 'transformer')
  t.match(set(['model.rope', 'false']), { model: { rope: false } })
  t.match(set(['sampling.cfg', '3']), { sampling: { cfg: 3 } }, 'an object that the file lacks is made')
  t.throws(() => set(['optimizer.batchsize', '16']), {
    code: 'ERR_CONFIG',
    message: /own\.json with optimizer\.batchsize=16: unknown key "optimizer\.batchsize": did you mean "batchSize"\?/,
  })
  t.throws(() => set(['optimizer.batchSize', 'many']), { message: /"optimizer\.batchSize" is "many", expected/ })
  t.throws(() => set(['__proto__.polluted', '1']))
  t.equal(({} as Record<string, unknown>).polluted, undefined)
})

t.test('what is refused', async (t) => {
  t.throws(() => resolveRunConfig([], 'x.json'), { code: 'ERR_CONFIG', message: /^x\.json holds \[\], expected/ })
  t.throws(() => resolveRunConfig({ ...own, kind: undefined }, 'x.json'), { message: /"kind"/ })
  t.throws(() => resolveRunConfig({ ...own, kind: 'x' }, 'x.json'), {
    message: /"kind" is "x", expected "tokenizer" or/,
  })
  const { kind: _, ...forgotten } = own
  t.throws(() => resolveRunConfig(forgotten, 'x.json'), {
    code: 'ERR_CONFIG',
    message: /"kind" is missing, expected "tokenizer" or "transformer" or "sampler" or "lora"\./,
  })
  t.throws(() => resolveRunConfig(tinySamplerRun('run', 'pack', 'base', 1), 'x.json', { kind: 'transformer' }), {
    code: 'ERR_CONFIG',
    message: /describes the training of a sampler: run "star train-sampler x\.json"/,
  })
  t.throws(() => resolveRunConfig(own, 'x.json', { flags: new Map([['bs', '1']]) }), {
    code: 'ERR_ARGUMENT',
    message: /--bs is for configurations of the reference implementation, and x\.json is none: use --set/,
  })
  t.throws(() => readRunConfig('none.json'), { code: 'ERR_FILE' })
})
