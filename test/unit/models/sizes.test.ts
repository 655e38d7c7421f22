/** Sizes in configurations are compared with the weights before memory is taken for them. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { findModel } from '../../../lib/models/source.js'
import { loadTextEncoder } from '../../../lib/models/text/load.js'
import { native, packageRoot } from '../../../lib/native/index.js'
import { writeTinyModel } from '../../support/tiny-model.js'

type Json = Record<string, unknown>

function edited(file: string, change: (json: Json) => void): void {
  const json = JSON.parse(readFileSync(file, 'utf8')) as Json
  change(json)
  writeFileSync(file, JSON.stringify(json))
}

/** Refused with next to no memory. */
function refused(t: Test, make: () => unknown, expected: { code: string; message: RegExp }): void {
  native.resetPeakMemory('cpu')
  const before = native.memory('cpu').liveBytes
  t.throws(make, expected)
  t.ok(native.memory('cpu').peakBytes - before < 1e6, `${native.memory('cpu').peakBytes - before} bytes`)
}

t.test('model.json against its weights', async (t) => {
  const folder = join(t.testdir(), 'model')
  const config = join(folder, 'model.json')
  writeTinyModel(folder)
  findModel(folder)
  const original = readFileSync(config)
  const cases: [part: 'tokenizer' | 'transformer', key: string, value: unknown, code: string, message: RegExp][] = [
    ['transformer', 'depth', 500, 'ERR_SHAPE', /"depth" is 500, of the weights 2\. Take both/],
    ['transformer', 'width', 2048, 'ERR_SHAPE', /"width" is 2048, of the weights 32/],
    ['transformer', 'mlpRatio', 900, 'ERR_SHAPE', /"hidden" is 28800, of the weights 128/],
    ['transformer', 'depth', 5000, 'ERR_CONFIG', /"depth" is 5000, expected number to be <=1000/],
    ['transformer', 'width', 2 ** 31, 'ERR_CONFIG', /"width" is 2147483648, expected number to be <=1048576/],
    ['tokenizer', 'residualBlocks', 900, 'ERR_SHAPE', /"residualBlocks" is 900, of the weights 1/],
    ['tokenizer', 'residualBlocks', 1e5, 'ERR_CONFIG', /"residualBlocks" is 100000/],
    ['tokenizer', 'phi', 999, 'ERR_SHAPE', /"phi" is 999, of the weights/],
    ['tokenizer', 'phi', 1e9, 'ERR_CONFIG', /"phi" is 1000000000/],
    ['tokenizer', 'vocabSize', 1e6, 'ERR_SHAPE', /"vocabSize" is 1000000, of the weights 32/],
    ['tokenizer', 'patchNums', Array.from({ length: 1e5 }, (_, i) => i + 1), 'ERR_CONFIG', /"patchNums" is/],
  ]
  for (const [part, key, value, code, message] of cases) {
    writeFileSync(config, original)
    edited(config, (json) => {
      ;(json[part] as Json)[key] = value
    })
    refused(t, () => findModel(folder), { code, message })
  }
})

t.test('config.json of text encoders against their weights', async (t) => {
  const folder = t.testdir()
  const cases = [
    ['clip', 'text_encoder', 'num_hidden_layers', 10 ** 6],
    ['clip', 'text_encoder', 'intermediate_size', 2 ** 31],
    ['clip', 'text_encoder', 'max_position_embeddings', 2 ** 31],
    ['t5', '', 'num_layers', 10 ** 6],
    ['t5', '', 'd_kv', 2 ** 31],
    ['t5', '', 'd_ff', 2 ** 31],
  ] as const
  for (const [name, part, key, value] of cases) {
    const copy = join(folder, `${name}-${key}`)
    cpSync(join(packageRoot, 'test/data', name), copy, { recursive: true })
    edited(join(copy, part, 'config.json'), (json) => {
      json[key] = value
    })
    refused(t, () => loadTextEncoder(copy, 'cpu'), {
      code: 'ERR_SHAPE',
      message: new RegExp(`"${key === 'd_kv' ? 'inner' : key}" is \\d+, of the weights \\d+`),
    })
  }
})

t.test('sentinels of T5 by the thousand million', async (t) => {
  const copy = join(t.testdir(), 't5')
  cpSync(join(packageRoot, 'test/data/t5'), copy, { recursive: true })
  writeFileSync(join(copy, 'tokenizer_config.json'), '{"extra_ids":1000000000}')
  refused(t, () => loadTextEncoder(copy, 'cpu'), { code: 'ERR_CONFIG', message: /"extra_ids" is 1000000000/ })
})
