/** Random pictures and networks by rule, of which test/data/metrics.safetensors holds what reference implementations make. */
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { RgbImage } from '../../lib/data/index.js'
import { packageRoot } from '../../lib/native/index.js'
import { scope } from '../../lib/tensor/index.js'
import { openWeights, writeSafetensors } from '../../lib/weights/index.js'
import { type RuleParameter, ruleParameter, ruleUniform } from './golden.js'

export const metricsGolden: string = join(packageRoot, 'test', 'data', 'metrics.safetensors')

/** The pictures of a set: `a` and `b` for FID, `clip`, `ssim`. */
export function rulePicture(name: string, [height, width]: readonly number[]): RgbImage {
  const data = Uint8Array.from(ruleUniform(`metrics:${name}`, height * width * 3), (value) => Math.floor(256 * value))
  return { width, height, data }
}

export function rulePictures(set: 'a' | 'b' | 'clip'): RgbImage[] {
  using golden = openWeights(metricsGolden)
  const sizes = JSON.parse(golden.metadata.sizes) as Record<string, number[][]>
  return sizes[set].map((size, i) => rulePicture(`${set}.${i}`, size))
}

/** Writes the state dict of a random Inception, as pytorch-fid names its tensors, and returns the path. */
export function writeRuleInception(folder: string): string {
  const file = join(folder, 'inception.safetensors')
  using golden = openWeights(metricsGolden)
  const rules = JSON.parse(golden.metadata.rules) as Record<string, RuleParameter>
  scope(() =>
    writeSafetensors(
      file,
      Object.entries(rules).map(([name, rule]) => [name, ruleParameter(`inception:${name}`, rule)] as const),
      {},
    ),
  )
  return file
}

/** A folder of a whole CLIP model with random weights, as Hugging Face publishes them. */
export function writeRuleClip(folder: string): string {
  const clip = join(packageRoot, 'test', 'data', 'clip')
  mkdirSync(folder, { recursive: true })
  for (const part of ['whole', 'tokenizer'])
    for (const name of readdirSync(join(clip, part))) copyFileSync(join(clip, part, name), join(folder, name))
  return folder
}
