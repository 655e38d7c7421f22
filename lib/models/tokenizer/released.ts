/** Tokenizer files such as the published vae_ch160v4096z32.pth: the configuration derived from their tensors. */
import { parseConfig } from '../../config/parse-config.js'
import { StarError } from '../../native/index.js'
import { type TokenizerConfig, tokenizerSchema } from './config.js'

/**
 * Counts of codebook hits, one row a scale: a file from training with other scales has another number of rows, and nothing
 * depends on them.
 */
export const tokenizerStatistics = /^quantize\.ema_vocab_hit_SV$/

/**
 * The configuration derived from a tokenizer's tensors.
 * @param shapes tensors by name
 * @param patchNums sides of the scales, which the tensors do not tell
 * @throws ERR_SHAPE when they are no tokenizer's
 */
export function releasedTokenizerConfig(
  shapes: ReadonlyMap<string, readonly number[]>,
  patchNums: readonly number[],
): TokenizerConfig {
  const names = [...shapes.keys()]
  const dim = (name: string, index: number): number => {
    const size = shapes.get(name)?.[index]
    if (size === undefined)
      throw new StarError(
        'ERR_SHAPE',
        `the weights are not those of a STAR tokenizer: ${name} is missing. Name a file such as vae_ch160v4096z32.pth`,
      )
    return size
  }
  /** The numbers that stand at a place in the names, in order. */
  const numbers = (pattern: RegExp): number[] =>
    [...new Set(names.flatMap((name) => pattern.exec(name)?.[1] ?? []))].map(Number).sort((a, b) => a - b)
  const has = (pattern: RegExp): boolean => names.some((name) => pattern.test(name))
  const baseChannels = dim('encoder.conv_in.weight', 0)
  const levels = numbers(/^encoder\.down\.(\d+)\./)
  const shared = numbers(/^quantize\.quant_resi\.qresi_ls\.(\d+)\./).length
  const config = {
    baseChannels,
    channelMultipliers: levels.map((level) => dim(`encoder.down.${level}.block.0.conv1.weight`, 0) / baseChannels),
    residualBlocks: numbers(/^encoder\.down\.0\.block\.(\d+)\./).length,
    levelAttention: has(/^encoder\.down\.\d+\.attn\./),
    middleAttention: has(/^encoder\.mid\.attn_1\./),
    vocabSize: dim('quantize.embedding.weight', 0),
    latentChannels: dim('quantize.embedding.weight', 1),
    patchNums,
    phi: has(/^quantize\.quant_resi\.qresi\./) ? 1 : shared > 0 ? shared : 'per-scale',
  }
  return parseConfig(tokenizerSchema, config, 'the tokenizer derived from these weights')
}
