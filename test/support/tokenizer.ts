/** The tokenizer of the golden files: its configuration read off the list of parameters, its weights made by rule. */
import { Tokenizer, type TokenizerConfig, tokenizerSchema } from '../../lib/models/tokenizer/index.js'
import { permute, type Tensor } from '../../lib/tensor/index.js'
import { Golden, type RuleParameter, ruleParameter, testDevice } from './golden.js'

type Parameters = Record<string, RuleParameter>

function configOf(parameters: Parameters, patchNums: number[]): TokenizerConfig {
  const names = Object.keys(parameters)
  const numbers = (pattern: RegExp): number[] =>
    [...new Set(names.flatMap((name) => pattern.exec(name)?.[1] ?? []))].map(Number).sort((a, b) => a - b)
  const baseChannels = parameters['encoder.conv_in.weight'].shape[0]
  const levels = numbers(/^encoder\.down\.(\d+)\./)
  const shared = numbers(/^quantize\.quant_resi\.qresi_ls\.(\d+)\./).length
  const single = names.some((name) => name.startsWith('quantize.quant_resi.qresi.'))
  const [vocabSize, latentChannels] = parameters['quantize.embedding.weight'].shape
  return tokenizerSchema.parse({
    baseChannels,
    channelMultipliers: levels.map(
      (level) => parameters[`encoder.down.${level}.block.0.conv1.weight`].shape[0] / baseChannels,
    ),
    residualBlocks: numbers(/^encoder\.down\.0\.block\.(\d+)\./).length,
    levelAttention: names.some((name) => /^encoder\.down\.\d+\.attn\./.test(name)),
    middleAttention: names.some((name) => name.startsWith('encoder.mid.attn_1.')),
    vocabSize,
    latentChannels,
    patchNums,
    phi: single ? 1 : shared > 0 ? shared : 'per-scale',
  })
}

export interface GoldenTokenizer {
  golden: Golden
  model: Tokenizer
  prefix: string
  parameters: Parameters
}

/** @param file golden file whose metadata holds `parameters` and the scales; `scales` where it holds them otherwise */
export function goldenTokenizer(file = 'tokenizer', scales?: number[]): GoldenTokenizer {
  const golden = new Golden(file)
  const parameters = golden.json<Parameters>('parameters')
  const prefix = golden.metadata.prefix
  const patchNums = scales ?? golden.json<{ pn: number[] }>('config').pn
  const model = new Tokenizer(configOf(parameters, patchNums), { init: null, device: testDevice })
  const weights = new Map(
    Object.entries(parameters).map(([name, rule]) => [name, ruleParameter(prefix + name, rule)] as const),
  )
  try {
    model.load(weights)
  } finally {
    for (const weight of weights.values()) weight.dispose()
  }
  return { golden, model, prefix, parameters }
}

/** Images of the golden files are NCHW; the library's are NHWC. */
export const toNhwc = (x: Tensor): Tensor => permute(x, [0, 2, 3, 1])
export const toNchw = (x: Tensor): Tensor => permute(x, [0, 3, 1, 2])
