/** Whether both sides of the benchmark compute the same: how far outputs lie apart, and how far they may. */
import { StarError } from '../lib/native/index.js'
import type { Precision } from './cases.js'
import type { Outputs } from './ours.js'

/**
 * Largest difference of each output from the peer's in f32. Below f32 there is none for what was drawn: one token that falls the
 * other way changes all that follow, so that is told, not held to a number. What precision does to pixels shows in the cases `decode`.
 */
export const tolerances: Readonly<Record<Precision, Readonly<Record<string, number>>>> = {
  f32: {
    logits: 2e-5,
    states: 2e-5,
    tokens: 0,
    image: 1e-4,
    pixels: 1e-4,
    loss: 1e-5,
    gradient_norm: 1e-5,
    second_loss: 1e-4,
  },
  bf16: { logits: 2e-2, pixels: 3e-2, loss: 2e-4, gradient_norm: 1e-3, second_loss: 2e-4 },
  int8: {},
}

/** ‖got − want‖/‖want‖; of tokens, the share that is another one. */
export function difference(name: string, got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) return Number.POSITIVE_INFINITY
  let [error, norm] = [0, 0]
  for (let i = 0; i < want.length; i++) {
    error += name === 'tokens' ? Number(got[i] !== want[i]) : (got[i] - want[i]) ** 2
    norm += want[i] ** 2
  }
  return name === 'tokens' ? error / want.length : Math.sqrt(error / norm)
}

/** The differences of all outputs. */
export const differences = (got: Outputs, want: Outputs): Record<string, number> =>
  Object.fromEntries(Object.keys(want).map((name) => [name, difference(name, got[name] ?? [], want[name])]))

/** @throws ERR_INTERNAL where an output differs by more than it may: then there is nothing to time */
export function expectAgreement(name: string, precision: Precision, found: Readonly<Record<string, number>>): void {
  for (const [output, error] of Object.entries(found)) {
    const most = tolerances[precision][output] ?? Number.MAX_VALUE
    if (!(error <= most))
      throw new StarError(
        'ERR_INTERNAL',
        `bench: ${name}: ${output} in ${precision} differs by ${error} from the peer's in f32, expected ${most} at most`,
      )
  }
}

/** `tokens 12 % others, image 1.3e-1`. */
export const toldDifferences = (found: Readonly<Record<string, number>>): string =>
  Object.entries(found)
    .map(([name, error]) =>
      name === 'tokens'
        ? `tokens ${(100 * error).toFixed(error > 0 ? 1 : 0)} % others`
        : `${name} ${error.toExponential(1)}`,
    )
    .join(', ')
