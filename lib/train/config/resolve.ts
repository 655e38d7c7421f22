/** Configurations with every length in steps, once the number of images is known. */
import { StarError } from '../../native/error.js'
import type { CommonConfig } from './common.js'
import type { OptimizerConfig } from './optimizer.js'
import type { WorkConfig } from './work.js'

export type ResolvedOptimizer = OptimizerConfig & { steps: number; warmupSteps: number }

/**
 * `validateEvery` is not whole where it comes from epochs, and not there where validation waits for an epoch to end, whenever
 * that is.
 */
export type ResolvedWork = WorkConfig & { logEvery: number }

/** What is trained by and stored: the schema accepts it too, as it holds no length twice. */
export type Resolved<Config extends CommonConfig> = Config & { optimizer: ResolvedOptimizer; work: ResolvedWork }

/**
 * e epochs in steps, not rounded: e·n/b with n images in batches of b.
 * @param key for messages
 * @param stepsPerEpoch n/b; null where nobody knows n
 * @throws ERR_CONFIG where it is needed and not known
 */
export function stepsOf(key: string, epochs: number, stepsPerEpoch: number | null): number {
  if (epochs === 0) return 0
  if (stepsPerEpoch !== null) return epochs * stepsPerEpoch
  throw new StarError(
    'ERR_CONFIG',
    `"${key}" counts epochs, but tars do not tell how many images they hold: set "data.tarSamples", or give steps`,
  )
}

/** e epochs are ⌈e·n/b⌉ steps, a warm-up of w epochs is w·n/b steps, rounded. */
export function resolveOptimizer(config: OptimizerConfig, stepsPerEpoch: number | null): ResolvedOptimizer {
  const { epochs = 0, warmupEpochs = 0, ...rest } = config
  const count = (key: string, length: number): number => stepsOf(`optimizer.${key}`, length, stepsPerEpoch)
  return {
    ...rest,
    // A product such as 0.1·30 may exceed the whole number it stands for by a rounding error.
    steps: rest.steps ?? Math.max(1, Math.ceil(count('epochs', epochs) - 1e-9)),
    warmupSteps: rest.warmupSteps ?? Math.round(count('warmupEpochs', warmupEpochs)),
  }
}

export function resolveWork(config: WorkConfig, stepsPerEpoch: number | null): ResolvedWork {
  const { logsPerEpoch, validateEpochs, ...rest } = config
  const count = (key: string, length: number): number => stepsOf(`work.${key}`, length, stepsPerEpoch)
  const validateEvery = validateEpochs
    ? count('validateEpochs', validateEpochs)
    : (rest.validateEvery ?? stepsPerEpoch ?? undefined)
  return {
    ...rest,
    logEvery: logsPerEpoch ? Math.max(1, Math.floor(count('logsPerEpoch', 1) / logsPerEpoch)) : (rest.logEvery ?? 10),
    ...(validateEvery !== undefined && { validateEvery }),
  }
}

/**
 * @param spec of the kind, which resolves its own lengths
 * @param images of an epoch; null where nobody knows
 * @throws ERR_CONFIG for lengths in epochs where their number is not known
 */
export function resolve<Config extends CommonConfig>(
  config: Config,
  spec: { resolve?(config: Resolved<Config>, stepsPerEpoch: number | null): Resolved<Config> },
  images: number | null,
): Resolved<Config> {
  const perEpoch = images === null ? null : images / config.optimizer.batchSize
  const resolved = {
    ...config,
    optimizer: resolveOptimizer(config.optimizer, perEpoch),
    work: resolveWork(config.work, perEpoch),
  }
  return spec.resolve?.(resolved, perEpoch) ?? resolved
}
