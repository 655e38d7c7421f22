/** Names of metrics in TensorBoard: those of the reference implementation, so that its runs and ours lie in the same charts. */

/** Names for what does not depend on the scale. */
const fixed: Readonly<Record<string, string>> = {
  loss: 'AR_iter_loss/loss',
  Lm: 'AR_iter_loss/Lm',
  Lt: 'AR_iter_loss/Lt',
  Accm: 'AR_iter_loss/Accm',
  Acct: 'AR_iter_loss/Acct',
  usage: 'AR_iter_loss/z_voc_usage',
  newScaleWeight: 'AR_iter_schedule/prog_wp',
  learningRate: 'AR_opt_lr/lr_max/sche_tlr',
  weightDecay: 'AR_opt_wd/wd_max/sche_twd',
  gradNorm: 'AR_opt_grad/grad/grad_norm',
  samplesPerSecond: 'AR_throughput/images_per_second',
  'val/Lm': 'AR_ep_loss/L_mean',
  'val/Lt': 'AR_ep_loss/L_tail',
  'val/Accm': 'AR_ep_loss/acc_mean',
  'val/Acct': 'AR_ep_loss/acc_tail',
}

/**
 * Tag → value of the metrics of a step. A scale's metrics are named by the side in pixels that it makes, the loss scale is
 * given as its binary logarithm, the number of scales trained as the index of the last one; what the reference implementation does not know stands under `star/` with its own name.
 * @param sides side in pixels of each scale
 */
export function tensorboardScalars(
  metrics: Readonly<Record<string, number>>,
  sides: readonly number[],
): Record<string, number> {
  return Object.fromEntries(
    Object.entries(metrics)
      .filter(([name]) => name !== 'step')
      .map(([name, value]) => {
        if (name === 'lossScale') return ['AR_opt_grad/fp16/scale_log2', Math.log2(value)]
        if (name === 'scales') return ['AR_iter_schedule/prog_si', value - 1]
        const scale = /^(val\/)?(L|Acc)(\d+)$/.exec(name)
        const side = scale ? sides[Number(scale[3]) - 1] : undefined
        if (scale && side !== undefined)
          return [`${scale[1] ? 'AR_ep_loss' : 'AR_iter_loss'}/${scale[2] === 'L' ? 'L' : 'acc'}_${side}`, value]
        return [fixed[name] ?? `star/${name}`, value]
      }),
  )
}
