/** `star lora`, `--lora`, and `star train-lora`, as they are typed. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Star } from '../../lib/index.js'
import { refused } from '../support/refusal.js'
import { star } from '../support/star-command.js'
import { writeTinyLora } from '../support/tiny-lora.js'
import { writeTinyModel } from '../support/tiny-model.js'

const folder = t.testdir()
const at = (...names: string[]): string => join(folder, ...names)
writeTinyModel(at('model'))
writeTinyModel(at('wide'), 'wide', { width: 64 })
writeTinyLora(at('style'), at('model'))
writeTinyLora(at('other'), at('model'), 50)

const command = (...args: string[]) => star(args, { cwd: folder })
const sample = (out: string, ...args: string[]) =>
  command('sample', 'a cat', '--device', 'cpu', '--model', 'model', '--out', out, ...args)

t.test('info tells what a LoRA is', async (t) => {
  const { code, stdout } = await command('lora', 'info', 'style')
  t.equal(code, 0)
  t.match(stdout, /LoRA {2,}style\n/)
  t.match(stdout, /of the model {2,}.*model\n/)
  t.match(stdout, /rank {2,}2\nalpha {2,}3\nmatrices {2,}14: attn\.mat_qkv, attn\.proj, .*ffn\.fc2 of each block\n/)
  const json = JSON.parse((await command('lora', 'info', 'style/adapter_model.safetensors', '--json')).stdout)
  t.match(json, { name: 'style', alpha: 3 })
  t.match(json.matrices[0], { name: 'blocks.0.attn.mat_qkv', rank: 2, scale: 1.5, inputs: 32, outputs: 96 })
  refused(t, await command('lora', 'info', 'model'), /folder model holds no LoRA/)
})

t.test('--lora draws with LoRAs; the file says so, and star again draws it again', async (t) => {
  t.match(await sample('base.png'), { code: 0 })
  t.match(await sample('zero.png', '--lora', 'style:0'), { code: 0 })
  t.strictSame(readFileSync(at('zero.png')), readFileSync(at('base.png')), 'strength 0, to the byte')
  t.match(await sample('both.png', '--lora', 'style:0.8', '--lora', 'other/adapter_model.safetensors:-0.5'), {
    code: 0,
  })
  t.notSame(readFileSync(at('both.png')), readFileSync(at('base.png')))
  t.match(await Star.settingsOf(at('both.png')), {
    lora: [
      { path: 'style', strength: 0.8 },
      { path: 'other/adapter_model.safetensors', strength: -0.5 },
    ],
    loraMode: 'apply',
  })
  t.match(await command('again', 'both.png', '--model', 'model', '--out', 'again.png'), { code: 0, stderr: '' })
  t.strictSame(readFileSync(at('again.png')), readFileSync(at('both.png')))
  t.match(await sample('merged.png', '--lora', 'style', '--lora-mode', 'merge'), { code: 0 })
  t.match(await Star.settingsOf(at('merged.png')), { lora: [{ path: 'style', strength: 1 }], loraMode: 'merge' })
})

t.test('merge writes a model that draws without the LoRAs', async (t) => {
  const merged = await command('lora', 'merge', 'model', 'style:0.8', 'other:-0.5', '--out', 'mine')
  t.match(merged, { code: 0, stdout: 'mine\n', stderr: '' })
  t.match(JSON.parse(readFileSync(at('mine', 'model.json'), 'utf8')), { name: 'mine', sampling: { topK: 16 } })
  t.match(readFileSync(at('mine', 'README.md'), 'utf8'), /- style, strength 0\.8\n- other, strength -0\.5\n/)
  t.match(await command('sample', 'a cat', '--device', 'cpu', '--model', 'mine', '--out', 'mine.png'), { code: 0 })
  refused(t, await command('lora', 'merge', 'model', 'style', '--out', 'mine'), /mine is there already: .*--force/)
  t.match(await command('lora', 'merge', 'model', 'style', '--out', 'mine', '--force', '--name', 'again'), { code: 0 })
  t.match(JSON.parse(readFileSync(at('mine', 'model.json'), 'utf8')), { name: 'again' })
  t.notOk(existsSync(at('not-there')))
})

t.test('mistakes are answered in one line', async (t) => {
  refused(
    t,
    await sample('x.png', '--lora', 'style:strong'),
    /strength in "style:strong" is "strong", expected a number/,
  )
  refused(t, await sample('x.png', '--lora', 'style:'), /expected a number/)
  refused(t, await sample('x.png', '--lora', 'style:NaN'), /expected a number/)
  refused(t, await sample('x.png', '--lora', 'nowhere'), /nowhere cannot be read/)
  refused(
    t,
    await command('lora', 'merge', 'wide', 'style', '--out', 'w'),
    /style.* is a LoRA of another model than wide/,
  )
  refused(t, await command('lora', 'merge', 'model', 'style'), /--out/)
  writeFileSync(at('no.json'), JSON.stringify({ runFolder: 'x' }))
  refused(t, await command('train-lora', 'no.json'), /"kind" is missing/)
})

t.test('a LoRA that was trained on other weights of the same sizes is told of', async (t) => {
  t.match(await command('lora', 'merge', 'model', 'style', '--out', 'changed'), { code: 0, stderr: '' })
  const note = /^note: .*style.* was trained on .*model \(weights [0-9a-f]{12}\), not on the weights of changed .*\n$/
  const { code, stderr } = await command('lora', 'merge', 'changed', 'style', '--out', 'twice')
  t.equal(code, 0)
  t.match(stderr, note)
  const args = ['sample', 'a cat', '--device', 'cpu', '--model', 'changed', '--lora', 'style', '--out', 'twice.png']
  t.match((await command(...args)).stderr, note)
})
