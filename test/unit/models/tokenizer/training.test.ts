import t from 'tap'
import {
  defaultObjective,
  detailLoss,
  imageSide,
  psnr,
  Tokenizer,
  tokenizerObjective,
} from '../../../../lib/models/tokenizer/index.js'
import { native } from '../../../../lib/native/index.js'
import {
  adamwStep,
  backward,
  globalNorm,
  Random,
  scope,
  Tensor,
  tapeLength,
  zeros,
} from '../../../../lib/tensor/index.js'
import { gradcheck, signed } from '../../../support/gradcheck.js'

const small = {
  baseChannels: 32,
  channelMultipliers: [1, 1],
  residualBlocks: 1,
  levelAttention: true,
  vocabSize: 24,
  latentChannels: 5,
  patchNums: [1, 3, 4],
  phi: 2,
}

t.test('detail sees edges, not levels', async (t) => {
  scope(() => {
    const x = signed([2, 8, 8, 3])
    const brighter = Tensor.from(
      x.floats().map((v) => v + 0.25),
      x.shape,
    )
    t.ok(detailLoss(x, brighter).item() < 1e-6)
    t.equal(detailLoss(x, x).item(), 0)
    // A plain reference of the finest of the three resolutions, on an image that the coarser ones don't see.
    const stripes = Tensor.from(
      Float32Array.from({ length: 64 }, (_, i) => (i % 2 ? 1 : -1)),
      [1, 8, 8, 1],
    )
    const zero = zeros([1, 8, 8, 1])
    t.ok(Math.abs(detailLoss(stripes, zero).item() - 2 / 6) < 1e-6)
    const smooth = Tensor.from(
      Float32Array.from({ length: 64 }, (_, i) => (i % 8) * 0.1),
      [1, 8, 8, 1],
    )
    // Slopes along x of 0.1, 0.2 and 0.4 at the three resolutions.
    t.ok(Math.abs(detailLoss(smooth, zero).item() - 0.7 / 6) < 1e-6)
  })
})

t.test('gradient of the detail loss', async (t) => {
  const x = signed([1, 8, 8, 2], 3)
  x.requiresGrad = true
  t.ok(gradcheck((x) => detailLoss(x, zeros(x.shape)), [x], { step: 1e-4 }) < 1e-2)
})

t.test('psnr of images in [−1, 1]', async (t) => {
  t.ok(Math.abs(psnr(0.04) - 20) < 1e-9)
  t.ok(Number.isFinite(psnr(0)))
})

t.test('images of another size are refused', async (t) => {
  using model = new Tokenizer(small, { init: null })
  t.equal(imageSide(model.config), 8)
  t.throws(() => model.encode(signed([1, 7, 8, 3])), { code: 'ERR_SHAPE', message: /multiples of 2/ })
  t.throws(() => model.encode(signed([1, 8, 8, 4])), { code: 'ERR_SHAPE', message: /\(batch, height, width, 3\)/ })
  t.throws(() => model.quantizer.quantize(signed([1, 4, 4, 6])), { code: 'ERR_SHAPE', message: /\(batch, h, w, 5\)/ })
  t.throws(() => model.quantizer.nextInput(1, null, signed([1, 4, 5])), { code: 'ERR_SHAPE', message: /scale 1/ })
  t.throws(() => model.quantizer.transformerInput([]), { code: 'ERR_SHAPE' })
})

t.test('a single scale has an empty input for the transformer', async (t) => {
  using model = new Tokenizer({ ...small, patchNums: [4] }, { init: new Random(1) })
  scope(() => {
    t.strictSame(model.quantizer.transformerInput(signed([2, 4, 4, 5])).shape, [2, 0, 5])
    t.equal(model.quantizer.nextInput(0, null, signed([2, 16, 5])).next, null)
  })
})

t.test('training on one batch learns it, leaks nothing, and repeats bit for bit', async (t) => {
  const run = (): { losses: number[]; codes: Float32Array } => {
    const random = new Random(3)
    using model = new Tokenizer(small, { init: random })
    const images = signed([4, 8, 8, 3], 2, 0.6)
    model.initializeCodebook(images, random)
    const params = model.parameters()
    const moments = [0, 1].map(() => params.map((p) => zeros(p.shape)))
    const losses: number[] = []
    let bytes = 0
    for (let step = 1; step <= 12; step++) {
      scope(() => {
        const { loss, terms, indices, vectors } = tokenizerObjective(model, images, defaultObjective)
        losses.push(loss.item())
        const sum = terms.l1.item() + terms.l2.item() + terms.detail.item() + terms.quantizer.item()
        t.ok(Math.abs(sum - loss.item()) < 1e-4 * sum)
        t.strictSame(vectors!.shape, [4 * (1 + 9 + 16), 5])
        backward(loss)
        const grads = params.map((p) => p.grad!)
        t.notOk(grads.includes(null!), 'every parameter gets a gradient')
        adamwStep({
          params,
          weights: params,
          grads,
          m: moments[0],
          v: moments[1],
          weightDecays: params.map(() => 0),
          norm: globalNorm(grads),
          maxNorm: 2,
          gradScale: 1,
          lr: 3e-3,
          beta1: 0.9,
          beta2: 0.99,
          eps: 1e-8,
          step,
        })
        model.zeroGrad()
        const { codebook } = model.quantizer
        codebook.record(codebook.count(indices))
        if (step % 5 === 0) codebook.revive(vectors!, random, { below: 0.05 })
      })
      t.equal(tapeLength(), 0)
      const live = native.memory('cpu').liveBytes
      if (step > 1) t.equal(live, bytes, 'live bytes')
      bytes = live
    }
    const codes = model.quantizer.embedding.weight.floats()
    for (const m of moments.flat()) m.dispose()
    images.dispose()
    return { losses, codes }
  }
  const first = run()
  t.ok(first.losses.at(-1)! < 0.8 * first.losses[0], `${first.losses[0]} → ${first.losses.at(-1)}`)
  const second = run()
  t.strictSame(second, first)
})
