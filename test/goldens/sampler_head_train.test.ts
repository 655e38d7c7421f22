import t from 'tap'
import { levels, samplerObjective } from '../../lib/models/star/index.js'
import { backward, concat, mul, noGrad, scope, slice, Tensor } from '../../lib/tensor/index.js'
import { testDevice as device, Golden, relativeError, ruleSigned, ruleUniform } from '../support/golden.js'
import { buildQuantizer, buildSamplerHead, buildTransformer } from '../support/golden-sampling.js'

const golden = new Golden('sampler_head_train')
const sampling = new Golden('sampling')
const { prefix } = golden.metadata
const patchNums = sampling.json<number[]>('patch_nums')
const begin = sampling.json<{ sample_from_idx: number }>('settings').sample_from_idx
const { V, xdim, tlen } = sampling.json<Record<'V' | 'xdim' | 'tlen', number>>('config')
const known = Float32Array.from(golden.values('known'))
const [batch, count] = golden.shape('known')
const scales = levels(patchNums)
const length = scales[scales.length - 1].end

t.test('logits, loss and gradients', async (t) => {
  using transformer = buildTransformer('per-sample')
  using quantizer = buildQuantizer()
  using head = buildSamplerHead()
  const maps = patchNums.map((p, i) => {
    const ids = ruleUniform(`${prefix}h_idx${i}`, batch * p * p)
    return Tensor.from(
      Int32Array.from(ids, (u) => Math.floor(u * V)),
      [batch, p * p],
      { device },
    )
  })
  const text = {
    states: Tensor.from(ruleSigned(`${prefix}text`, batch * tlen * xdim), [batch, tlen, xdim], { device }),
    pooled: Tensor.from(ruleSigned(`${prefix}pooled`, batch * xdim), [batch, xdim], { device }),
    mask: Tensor.from(Uint8Array.from(new Golden('transformer').values('text_mask')), [batch, tlen], { device }),
  }
  scope(() => {
    const targets = concat(maps.slice(begin), 1)
    const { features, rows } = noGrad(() => ({
      features: slice(
        transformer.features({ input: quantizer.transformerInput(maps), text }),
        1,
        scales[begin].begin,
        length,
      ),
      rows: mul(quantizer.embedIndices(targets), Tensor.from(known, [batch, count, 1], { device })),
    }))
    const logits = head.forward({ rows, features, pooled: text.pooled, begin, end: scales.length })
    const [, first] = golden.shape('logits_first_rows')
    const logitError = relativeError(slice(logits, 1, 0, first).floats(), golden.values('logits_first_rows'))
    t.ok(logitError <= 2e-5, `logits differ by ${logitError}`)
    const { loss } = samplerObjective(logits, targets, known, length)
    const expected = golden.values('loss')[0]
    t.ok(Math.abs(loss.item() - expected) <= 2e-5 * expected, `loss ${loss.item()}, expected ${expected}`)
    backward(loss)
  })
  for (const { name, tensor, trainable } of head.namedTensors()) {
    if (!trainable) continue
    const grad = tensor.grad!.floats()
    const norm = Math.sqrt(grad.reduce((s, g) => s + g * g, 0))
    const expected = golden.values(`gradnorm.${name}`)[0]
    t.ok(Math.abs(norm - expected) <= 1e-4 * expected, `${name}: gradient norm ${norm}, expected ${expected}`)
    const reference = golden.values(`gradhead.${name}`)
    // Level 0 of lvl_embed_2 is not trained here: its first gradients are exactly 0.
    if (reference.every((g) => g === 0)) t.ok(grad.subarray(0, reference.length).every((g) => g === 0))
    else {
      const error = relativeError(grad.subarray(0, reference.length), reference)
      t.ok(error <= 1e-4, `${name}: first gradients differ by ${error}`)
    }
  }
})
