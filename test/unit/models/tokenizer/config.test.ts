import t from 'tap'
import {
  downsampling,
  imageSide,
  latentSide,
  Phi,
  Tokenizer,
  tokenCount,
  tokenizerSchema,
} from '../../../../lib/models/tokenizer/index.js'

t.test('defaults are the released tokenizer', async (t) => {
  const config = tokenizerSchema.parse({})
  t.equal(downsampling(config), 16)
  t.equal(latentSide(config), 16)
  t.equal(imageSide(config), 256)
  t.equal(tokenCount(config), 680)
})

t.test('what cannot be is refused with a reason', async (t) => {
  const bad = (config: object) => () => new Tokenizer(config, { init: null })
  t.throws(bad({ baseChannels: 40 }), { name: 'StarError', code: 'ERR_CONFIG', message: /multiple of 32/ })
  t.throws(bad({ patchNums: [1, 3, 2] }), { code: 'ERR_CONFIG', message: /rise/ })
  t.throws(bad({ basechannels: 32 }), { code: 'ERR_CONFIG', message: /baseChannels/ })
  t.throws(bad({ vocabSize: 0 }), { code: 'ERR_CONFIG', message: /vocabSize/ })
})

t.test('φ of each scale', async (t) => {
  const choice = (scales: number, phi: number | 'per-scale') => {
    const patchNums = Array.from({ length: scales }, (_, k) => k + 1)
    using module = new Phi(tokenizerSchema.parse({ latentChannels: 2, patchNums, phi }), { init: null })
    return { choice: module.choice.join(' '), names: [...module.namedTensors()].map(({ name }) => name) }
  }
  // Ties fall as in the published code: at 10 scales the third is as near to the first tick as to the second.
  t.equal(choice(10, 4).choice, '0 0 1 1 1 2 2 3 3 3')
  t.equal(choice(14, 4).choice, '0 0 0 1 1 1 1 2 2 2 2 3 3 3')
  t.equal(choice(7, 3).choice, '0 0 0 1 1 2 2')
  t.equal(choice(5, 'per-scale').choice, '0 1 2 3 4')
  t.equal(choice(5, 1).choice, '0 0 0 0 0')
  t.equal(choice(1, 4).choice, '0')
  t.strictSame(choice(3, 1).names, ['qresi.weight', 'qresi.bias'])
  t.strictSame(choice(2, 'per-scale').names, ['0.weight', '0.bias', '1.weight', '1.bias'])
  t.strictSame(choice(3, 2).names, ['qresi_ls.0.weight', 'qresi_ls.0.bias', 'qresi_ls.1.weight', 'qresi_ls.1.bias'])
})
