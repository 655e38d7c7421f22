/** The tokenizer of the golden files: its configuration read off the list of parameters, its weights made by rule. */
import { releasedTokenizerConfig, Tokenizer } from '../../lib/models/tokenizer/index.js'
import { permute, type Tensor } from '../../lib/tensor/index.js'
import { Golden, type RuleParameter, ruleParameter, testDevice } from './golden.js'

type Parameters = Record<string, RuleParameter>

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
  const shapes = new Map(Object.entries(parameters).map(([name, { shape }]) => [name, shape]))
  const model = new Tokenizer(releasedTokenizerConfig(shapes, patchNums), { init: null, device: testDevice })
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
