import t from 'tap'
import { type CrossAttentionMode, StarTransformer, tokenLoss } from '../../lib/models/star/index.js'
import { backward, scope, Tensor } from '../../lib/tensor/index.js'
import {
  testDevice as device,
  Golden,
  type RuleParameter,
  relativeError,
  ruleParameter,
  ruleSigned,
} from '../support/golden.js'

interface VariantOptions {
  shared_aln?: boolean
  rotary_pos_emb?: boolean
  attn_l2_norm?: boolean
  enable_logit_norm?: boolean
}

const golden = new Golden('transformer')
const { prefix } = golden.metadata
const { pn, V, Z, depth, xdim, tlen } = golden.json<
  Record<'V' | 'Z' | 'depth' | 'xdim' | 'tlen', number> & { pn: number[] }
>('config')
const variants = golden.json<Record<string, VariantOptions>>('variants')
const parameters = golden.json<Record<string, Record<string, RuleParameter>>>('parameters')
const smoothings = [0, 0.1]

function build(variant: string, crossAttention: CrossAttentionMode): StarTransformer {
  const { shared_aln = false, rotary_pos_emb = true, attn_l2_norm = true, enable_logit_norm = true } = variants[variant]
  const width = parameters[variant].pos_start.shape[2]
  const model = new StarTransformer(
    {
      depth,
      width,
      heads: width / 64,
      patchNums: pn,
      vocabSize: V,
      latentChannels: Z,
      textWidth: xdim,
      crossAttention,
      sharedAdaLN: shared_aln,
      rope: rotary_pos_emb,
      attnL2Norm: attn_l2_norm,
      logitNorm: enable_logit_norm,
    },
    { device },
  )
  scope(() => {
    const made = Object.entries(parameters[variant]).map(
      ([name, rule]) => [name, ruleParameter(`${prefix}${variant}/${name}`, rule)] as const,
    )
    model.load(new Map(made))
  })
  return model
}

const input = golden.tensor('input')
const targets = golden.tensor('targets')
const batch = input.dim(0)
const text = {
  states: Tensor.from(ruleSigned(`${prefix}text`, batch * tlen * xdim), [batch, tlen, xdim], { device }),
  pooled: Tensor.from(ruleSigned(`${prefix}pooled`, batch * xdim), [batch, xdim], { device }),
  mask: Tensor.from(Uint8Array.from(golden.values('text_mask')), [batch, tlen], { device }),
}

const cases = golden.names
  .filter((n) => n.endsWith('.logits'))
  .map((n) => n.split('.').slice(0, 2) as [string, CrossAttentionMode])
t.ok(cases.length >= Object.keys(variants).length)

for (const [variant, mode] of cases) {
  const name = `${variant}.${mode}`
  t.test(name, async (t) => {
    using model = build(variant, mode)
    const losses = golden.values(`${name}.loss`)
    scope(() => {
      const logits = model.forward({ input, text })
      t.ok(
        relativeError(logits.floats(), golden.values(`${name}.logits`)) <= 2e-5,
        `logits: ${relativeError(logits.floats(), golden.values(`${name}.logits`))}`,
      )
      smoothings.forEach((labelSmoothing, i) => {
        const loss = tokenLoss(logits, targets, { labelSmoothing }).item()
        t.ok(
          Math.abs(loss - losses[i]) <= 2e-5 * losses[i],
          `loss with smoothing ${labelSmoothing}: ${loss}, expected ${losses[i]}`,
        )
      })
    })
    // The stored gradients are those of the loss without smoothing.
    scope(() => backward(tokenLoss(model.forward({ input, text }), targets)))
    for (const { name: parameter, tensor, trainable } of model.namedTensors()) {
      if (!trainable) continue
      const grad = tensor.grad!.floats()
      const norm = Math.sqrt(grad.reduce((s, g) => s + g * g, 0))
      const expected = golden.values(`${name}.gradnorm.${parameter}`)[0]
      t.ok(Math.abs(norm - expected) <= 1e-4 * expected, `${parameter}: gradient norm ${norm}, expected ${expected}`)
      const error = relativeError(grad.subarray(0, 4), golden.values(`${name}.gradhead.${parameter}`))
      t.ok(error <= 1e-4, `${parameter}: first gradients differ by ${error}`)
    }
  })
}
