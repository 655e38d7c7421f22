import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { StarError } from '../../../lib/native/index.js'
import { Tensor } from '../../../lib/tensor/index.js'
import {
  findModelFolder,
  type NamedTensors,
  openWeights,
  readModelConfig,
  shippedModels,
  writeModelFolder,
} from '../../../lib/weights/index.js'

const named = (values: Record<string, Tensor>): NamedTensors => ({
  *namedTensors() {
    for (const [name, tensor] of Object.entries(values)) yield { name, tensor }
  },
})
const config = { name: 'small', tokenizer: { vocabSize: 8 }, transformer: { depth: 1 }, textEncoder: 'minilm-l6' }

t.test('what was written is read back', async (t) => {
  const folder = join(t.testdir(), 'deep', 'small')
  const weight = Tensor.from(new Float32Array([1, -2, 0.5, 65504]), [2, 2])
  const ids = Tensor.from(new Int32Array([7]), [1])
  for (const dtype of ['f32', 'f16'] as const) {
    const parts = { tokenizer: named({ weight, ids }), transformer: named({ weight }) }
    writeModelFolder(folder, { config, ...parts, card: '# small\n', dtype })
    t.same(readModelConfig(folder), { format: 'star-model-1', ...config })
    using opened = openWeights(join(folder, 'tokenizer.safetensors'))
    const weights = opened.tensors()
    t.equal(weights.get('weight')?.dtype, dtype)
    t.same(weights.get('ids')?.ints(), new Int32Array([7]), 'integers keep their type')
    const back = Tensor.empty([2, 2])
    back.copyFrom(weights.get('weight') as Tensor)
    t.same(back.floats(), weight.floats())
    for (const tensor of [...weights.values(), back]) tensor.dispose()
    t.equal(readFileSync(join(folder, 'README.md'), 'utf8'), '# small\n')
  }
  t.same(readdirSync(join(folder, '..')), ['small'], 'nothing else is left beside it')
})

t.test('a failed write leaves the old model and nothing else', async (t) => {
  const root = t.testdir()
  const folder = join(root, 'small')
  const weight = Tensor.from(new Float32Array(4), [4])
  writeModelFolder(folder, { config, tokenizer: named({ weight }) })
  const broken: NamedTensors = {
    namedTensors() {
      throw new StarError('ERR_FILE', 'the disk is full')
    },
  }
  t.throws(
    () =>
      writeModelFolder(folder, {
        config: { ...config, name: 'new' },
        tokenizer: named({ weight }),
        transformer: broken,
      }),
    /disk is full/,
  )
  t.equal(readModelConfig(folder).name, 'small')
  t.same(readdirSync(root), ['small'])
  writeFileSync(join(root, 'file'), '')
  t.throws(() => writeModelFolder(join(root, 'file', 'x'), { config, tokenizer: named({ weight }) }), {
    code: 'ERR_FILE',
  })
})

t.test('what is missing or damaged is named', async (t) => {
  const root = t.testdir()
  const folder = join(root, 'small')
  const weight = Tensor.from(new Float32Array(64), [64])
  writeModelFolder(folder, { config, tokenizer: named({ weight }) })
  t.equal(findModelFolder(folder), folder)
  t.throws(() => findModelFolder(join(root, 'none')), { code: 'ERR_FILE', message: /no model, folder or file/ })
  mkdirSync(join(root, 'bare'))
  t.throws(() => findModelFolder(join(root, 'bare')), { code: 'ERR_FILE', message: /holds no model\.json/ })
  t.throws(() => readModelConfig(join(root, 'bare')), { code: 'ERR_FILE' })
  writeFileSync(join(folder, 'model.json'), JSON.stringify({ format: 'star-model-1', ...config, tokeniser: {} }))
  t.throws(() => readModelConfig(folder), {
    code: 'ERR_CONFIG',
    message: /unknown key "tokeniser": did you mean "tokenizer"/,
  })
  writeFileSync(join(folder, 'model.json'), JSON.stringify({ format: 'star-model-9', ...config }))
  t.throws(() => readModelConfig(folder), { code: 'ERR_CONFIG', message: /"format" is "star-model-9"/ })
})

t.test('every shipped model has a readable model.json of its own name', async (t) => {
  for (const [name, folder] of shippedModels()) t.equal(readModelConfig(folder).name, name)
})
