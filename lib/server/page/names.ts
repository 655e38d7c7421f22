/** Metrics in words. */

const words: Readonly<Record<string, string>> = {
  loss: 'loss',
  Lm: 'loss, all scales',
  Lt: 'loss, last scale',
  Accm: 'accuracy, all scales (%)',
  Acct: 'accuracy, last scale (%)',
  Lopen: 'loss, tokens that are open',
  Accopen: 'accuracy, tokens that are open (%)',
  psnr: 'PSNR (dB)',
  l1: 'error of pixels, absolute (L1)',
  l2: 'error of pixels, squared (L2)',
  perceptual: 'perceptual loss',
  adversarial: 'adversarial loss',
  discriminator: 'loss of the discriminator',
  detail: 'loss of details',
  quantizer: 'loss of the quantizer',
  usage: 'codebook in use (%)',
  perplexity: 'perplexity of the codebook',
  learningRate: 'learning rate',
  weightDecay: 'weight decay',
  gradNorm: 'norm of the gradient',
  lossScale: 'loss scale',
  samplesPerSecond: 'samples a second',
  newScaleWeight: 'weight of the newest scale',
  scales: 'scales trained',
}

/** A metric as people call it: known ones in words, others with their words apart. */
function metricName(metric: string): string {
  const scale = /^(L|Acc)(\d+)$/.exec(metric)
  if (scale) return scale[1] === 'L' ? `loss, scale ${scale[2]}` : `accuracy, scale ${scale[2]} (%)`
  return words[metric] ?? metric.replaceAll(/([a-z])([A-Z])/g, (_, a: string, b: string) => `${a} ${b.toLowerCase()}`)
}

/** Schedules: what they show is set, and smoothing would show something else. */
const isSchedule = (metric: string): boolean =>
  /^(learningRate|weightDecay|lossScale|newScaleWeight|scales|lr|wd)/.test(metric)

/** A length of time: `3 h 20 min`. */
function spanText(seconds: number): string {
  const minutes = Math.round(seconds / 60)
  if (minutes < 1) return `${Math.round(seconds)} s`
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`
}
