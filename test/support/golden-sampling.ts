/** The models, texts and noise of the golden sampling cases, and a run of one case. */
import {
  type CrossAttentionMode,
  SamplerHead,
  type StarConfigInput,
  StarTransformer,
} from '../../lib/models/star/index.js'
import { MultiScaleQuantizer, tokenizerSchema } from '../../lib/models/tokenizer/index.js'
import { generate, type NoiseSource, type SampleVersion } from '../../lib/sampling/index.js'
import { permute, scope, Tensor } from '../../lib/tensor/index.js'
import {
  testDevice as device,
  Golden,
  type RuleParameter,
  ruleParameter,
  ruleSigned,
  ruleUniform,
  ruleWords,
} from './golden.js'

const golden = new Golden('sampling')
const { prefix } = golden.metadata
const patchNums = golden.json<number[]>('patch_nums')
const settings = golden.json<{ cfg: number; top_k: number; top_p: number; batch: number; sample_from_idx: number }>(
  'settings',
)
const textLengths = golden.json<number[]>('text_lengths')
const salts = golden.json<Record<string, number>>('salts')
const { V, Z, depth, xdim, tlen } = golden.json<Record<'V' | 'Z' | 'depth' | 'xdim' | 'tlen', number>>('config')

interface Case {
  w_mask: boolean
  sample_version?: SampleVersion
  more_smooth?: boolean
}

/** Names "case.mode". */
export const caseNames = Object.keys(golden.json<Record<string, Case>>('cases')).flatMap((name) =>
  ['per-sample', 'first-sample'].map((mode) => `${name}.${mode}`),
)

/** Names of the sampler head's parameters, which stand among the transformer's in one state dict. */
const ofSamplerHead =
  /^(word_embed_head|encoder_proj2|pos_start_last|lvl_embed_2|head_proj|feat_extract_blocks|head_logits2)(\.|$)/

function weights(rules: Record<string, RuleParameter>, start: string): Map<string, Tensor> {
  return new Map(Object.entries(rules).map(([name, rule]) => [name, ruleParameter(start + name, rule)]))
}

const parameterRules = golden.json<Record<string, RuleParameter>>('parameters')
const width = parameterRules.pos_start.shape[2]
const configuration = (crossAttention: CrossAttentionMode): StarConfigInput => ({
  depth,
  width,
  heads: width / 64,
  patchNums,
  vocabSize: V,
  latentChannels: Z,
  textWidth: xdim,
  crossAttention,
})
const rulesWhere = (test: (name: string) => boolean): Record<string, RuleParameter> =>
  Object.fromEntries(Object.entries(parameterRules).filter(([name]) => test(name)))

export function buildTransformer(crossAttention: CrossAttentionMode): StarTransformer {
  const model = new StarTransformer(configuration(crossAttention), { device })
  scope(() =>
    model.load(
      weights(
        rulesWhere((name) => !ofSamplerHead.test(name)),
        `${prefix}sampler/`,
      ),
    ),
  )
  return model
}

export function buildSamplerHead(): SamplerHead {
  const head = new SamplerHead(configuration('per-sample'), { device })
  scope(() =>
    head.load(
      weights(
        rulesWhere((name) => ofSamplerHead.test(name)),
        `${prefix}sampler/`,
      ),
    ),
  )
  return head
}

export function buildQuantizer(): MultiScaleQuantizer {
  const config = tokenizerSchema.parse({ vocabSize: V, latentChannels: Z, patchNums })
  const quantizer = new MultiScaleQuantizer(config, { init: null, device })
  scope(() => {
    const all = weights(golden.json('tokenizer_parameters'), prefix)
    quantizer.load(new Map([...all].map(([name, tensor]) => [name.replace(/^quantize\./, ''), tensor])))
  })
  return quantizer
}

/** The noise of the golden rules, counted by call. */
function ruleNoise(salt: number): NoiseSource {
  const calls = { draw: 0, order: 0, gumbel: 0 }
  const name = (kind: keyof typeof calls): string => `${prefix}${salt}/${kind}:${calls[kind]++}`
  return {
    draw: (rows) => Tensor.from(ruleUniform(name('draw'), rows), [rows], { device }),
    order: (batch, length) => Tensor.from(ruleUniform(name('order'), batch * length), [batch, length], { device }),
    gumbel: (rows, vocab) => {
      const noise = Float32Array.from(
        ruleWords(name('gumbel'), rows * vocab),
        (x) => -Math.log(-Math.log((x + 0.5) / 2 ** 32)),
      )
      return Tensor.from(noise, [rows, vocab], { device })
    },
  }
}

/** Rows of `prefix`s_text and s_pooled: those of the prompts, then those of the empty prompts. */
function texts(rows: number) {
  const part = (name: string, size: number): Float32Array => ruleSigned(prefix + name, rows * size)
  const mask = Uint8Array.from({ length: rows * tlen }, (_, i) =>
    i % tlen < textLengths[Math.floor(i / tlen)] ? 1 : 0,
  )
  return {
    states: Tensor.from(part('s_text', tlen * xdim), [rows, tlen, xdim], { device }),
    pooled: Tensor.from(part('s_pooled', xdim), [rows, xdim], { device }),
    mask: Tensor.from(mask, [rows, tlen], { device }),
  }
}

export interface CaseRun {
  /** Every drawn token, in order. */
  draws: number[]
  /** f̂ as in the file: (B, Z, h, w). */
  fHat: Float32Array
}

export async function runCase(name: string): Promise<CaseRun> {
  const [kind, mode] = name.split('.') as [string, CrossAttentionMode]
  const {
    w_mask: stable,
    sample_version: version,
    more_smooth: moreSmooth,
  } = golden.json<Record<string, Case>>('cases')[kind]
  using transformer = buildTransformer(mode)
  using quantizer = buildQuantizer()
  using samplerHead = buildSamplerHead()
  const { batch } = settings
  const text = texts(2 * batch)
  const draws: number[] = []
  using fHat = await generate({
    transformer,
    quantizer,
    samplerHead: stable ? samplerHead : null,
    text,
    prompts: Array.from({ length: batch }, (_, i) => i),
    empty: Array.from({ length: batch }, (_, i) => batch + i),
    settings: {
      cfg: settings.cfg,
      topK: settings.top_k,
      topP: settings.top_p,
      version,
      moreSmooth,
      stableFrom: settings.sample_from_idx,
    },
    noise: ruleNoise(salts[name]),
    onScale: ({ tokens, scaleIndex }) => {
      if (tokens && !(stable && scaleIndex >= settings.sample_from_idx)) draws.push(...tokens.ints())
    },
    onStep: ({ drawn }) => {
      draws.push(...drawn.ints())
    },
  })
  for (const tensor of Object.values(text)) tensor.dispose()
  return { draws, fHat: scope(() => permute(fHat, [0, 3, 1, 2]).floats()) }
}

export const expected = (name: string): { draws: number[]; fHat: Float32Array } => ({
  draws: golden.names.includes(`${name}.draws`) ? [...golden.values(`${name}.draws`)] : [],
  fHat: golden.values(`${name}.f_hat`) as Float32Array,
})
