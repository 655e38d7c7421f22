/** A backbone with weights made by rule, in the published names: what training needs of a pretrained one without fetching it. */
import { join } from 'node:path'
import { packageRoot } from '../../lib/native/index.js'
import { keep, type Tensor } from '../../lib/tensor/index.js'
import { openWeights, writeSafetensors } from '../../lib/weights/index.js'
import { type RuleParameter, ruleParameter } from './golden.js'

export const backboneGolden: string = join(packageRoot, 'test', 'data', 'efficientnet-lite0.safetensors')

/** The state dict that the golden file was made with, as the published checkpoint names it. The caller disposes it. */
export function backboneStateDict(): Map<string, Tensor> {
  using golden = openWeights(backboneGolden)
  const rules = JSON.parse(golden.metadata.rules) as Record<string, RuleParameter>
  return new Map(
    Object.entries(rules).map(([name, rule]) => [name, keep(ruleParameter(`efficientnet:${name}`, rule))] as const),
  )
}

/** Writes it as a file in a folder and returns the path. */
export function writeBackbone(folder: string): string {
  const file = join(folder, 'backbone.safetensors')
  const weights = backboneStateDict()
  writeSafetensors(file, [...weights], {})
  for (const tensor of weights.values()) tensor.dispose()
  return file
}
