/** Which parameters the published recipe keeps from weight decay. */
const spared =
  /cls_token|start_token|task_token|cfg_uncond|pos_embed|pos_1LC|pos_start|start_pos|lvl_embed|gamma|beta|ada_gss|moe_bias|scale_mul/

/** True for biases, one-dimensional parameters and the embeddings named in the published recipe. */
export function noWeightDecay(name: string, shape: readonly number[]): boolean {
  return shape.length <= 1 || name.endsWith('bias') || spared.test(name)
}
