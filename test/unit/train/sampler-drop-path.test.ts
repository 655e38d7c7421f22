/** Stochastic depth of the frozen base while a sampler head is trained. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { scope, zeros } from '../../../lib/tensor/index.js'
import { readSafetensors, writeSafetensors } from '../../../lib/weights/index.js'
import {
  runSteps,
  tinySamplerRun,
  tinyTokenizerRun,
  tinyTransformerRun,
  writeTinyPack,
} from '../../support/tiny-run.js'

/** A copy of a model whose transformer says this dropPath and whose tensors of these names are zero. */
function changed(model: string, folder: string, dropPath: number, zero: RegExp): string {
  cpSync(model, folder, { recursive: true })
  const config = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8'))
  config.transformer.dropPath = dropPath
  writeFileSync(join(folder, 'model.json'), JSON.stringify(config))
  const file = join(folder, 'transformer.safetensors')
  scope(() => {
    const tensors = [...readSafetensors(file).tensors].map(
      ([name, tensor]) => [name, zero.test(name) ? zeros(tensor.shape, { dtype: tensor.dtype }) : tensor] as const,
    )
    writeSafetensors(file, tensors)
  })
  return folder
}

t.test('a base whose last block is left out is one whose last block adds nothing', async (t) => {
  const folder = t.testdir()
  const pack = await writeTinyPack(join(folder, 'data'))
  await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 2))
  await runSteps(tinyTransformerRun(join(folder, 'base'), pack, join(folder, 'tokenizer', 'model'), 2))
  const model = join(folder, 'base', 'model')
  // What dropped branches would have added: the outputs of self-attention and feed-forward, not of cross-attention.
  const branches = /^blocks\.1\.(attn\.proj|ffn\.fc2)\./
  const none = /^$/
  const firstStep = async (name: string, dropPath: number, zero: RegExp): Promise<number> => {
    const base = changed(model, join(folder, `${name}-model`), dropPath, zero)
    const [{ loss }] = await runSteps({
      ...tinySamplerRun(join(folder, name), pack, base, 1),
      seed: 5,
      textDropout: 0,
      work: { picturesEvery: 0 },
    })
    return loss
  }
  const whole = await firstStep('whole', 0, none)
  const cut = await firstStep('cut', 0, branches)
  // A rate of 0.99 for the second of two blocks drops all eight branches of the four samples with this seed.
  const dropped = await firstStep('dropped', 0.99, none)
  t.equal(dropped, cut)
  t.not(dropped, whole)
})
