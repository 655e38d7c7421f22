// Pixels that the decoder makes in 16 bits, against those in f32, with the shipped tokenizer.
import { join } from 'node:path'
import t from 'tap'
import { findModel, loadPart } from '../../../../lib/models/source.js'
import { psnr, Tokenizer } from '../../../../lib/models/tokenizer/index.js'
import { packageRoot } from '../../../../lib/native/index.js'
import { noGrad, scope, Tensor } from '../../../../lib/tensor/index.js'
import { useDevice } from '../../../support/device.js'

const source = findModel(join(packageRoot, 'models', 'emoji-64'))

/** f̂ of two pictures of tokens spread over the codebook. */
function latents({ quantizer, config }: Tokenizer, device: string): Tensor {
  const maps = config.patchNums.map((p, k) =>
    Tensor.from(
      Int32Array.from({ length: 2 * p * p }, (_, i) => (i * 131 + 17 * k) % config.vocabSize),
      [2, p * p],
      { device },
    ),
  )
  let fHat: Tensor | null = null
  maps.forEach((map, k) => {
    fHat = quantizer.nextInput(k, fHat, quantizer.embedIndices(map)).fHat
  })
  return fHat!
}

for (const device of ['cpu', 'simt'])
  for (const [type, least] of [
    ['f16', 50],
    ['bf16', 35],
  ] as const)
    t.test(`decoding in ${type} on ${device}`, async (t) => {
      useDevice(device)
      using tokenizer = new Tokenizer(source.tokenizer, { init: null, device })
      tokenizer.setTrainable(false)
      loadPart(source, 'tokenizer', tokenizer)
      const decode = (): Float32Array =>
        noGrad(() => scope(() => tokenizer.decode(latents(tokenizer, device)).floats().slice()))
      const single = decode()
      tokenizer.decodeIn(type)
      const half = decode()
      const error = single.reduce((sum, v, i) => sum + (v - half[i]) ** 2, 0) / single.length
      t.ok(error > 0, 'it is computed in 16 bits')
      t.ok(psnr(error) >= least, `${psnr(error).toFixed(1)} dB, expected at least ${least}`)
    })
