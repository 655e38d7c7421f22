/**
 * The native addon under attack. An input is a program: its bytes choose functions and arguments, most of which fit each other,
 * so that kernels run, while one now and then is anything: a number up to 2^53 or not a number, a tensor of another shape or type,
 * one that was released, an array with getters. Threads run other programs at the same time.
 */
import { StarError } from '../../../lib/native/error.js'
import { type NativeTensor, native } from '../../../lib/native/index.js'
import { fittingCall } from './calls.js'
import { Values } from './values.js'

class Program {
  readonly #values: Values
  calls = 0
  worked = 0

  constructor(bytes: Uint8Array) {
    this.#values = new Values(bytes)
  }

  #method(): void {
    const dice = this.#values.dice
    if (this.#values.made.length === 0) return
    const tensor = dice.pick(this.#values.made) as unknown as Record<string, (...args: unknown[]) => unknown>
    const name = dice.pick([
      'shape',
      'reshape',
      'slice',
      'alias',
      'read',
      'write',
      'shared',
      'release',
      'device',
      'dtype',
    ])
    const args = name === 'reshape' ? [[-1, 1]] : name === 'slice' ? [0, dice.below(4)] : [this.#values.anything()]
    this.#keep(tensor[name](...(dice.chance(20) ? [this.#values.anything(), this.#values.anything()] : args)))
  }

  #keep(result: unknown): void {
    for (const one of Array.isArray(result) ? result : [result]) {
      if (one instanceof Promise) one.catch(() => {})
      else if (typeof one === 'object' && one !== null && 'release' in one) this.#values.made.push(one as NativeTensor)
    }
  }

  run(): void {
    const functions = native as unknown as Record<string, (...args: unknown[]) => unknown>
    try {
      while (this.#values.dice.left > 0 && this.calls < 20) {
        this.calls++
        try {
          if (this.#values.dice.chance(15)) {
            this.#method()
          } else {
            const [name, args] = fittingCall(this.#values)
            while (this.#values.dice.left > 0 && this.#values.dice.chance(25))
              args[this.#values.dice.below(args.length + 1)] = this.#values.anything()
            this.#keep(functions[name](...args))
          }
          this.worked++
        } catch (error) {
          if (!(error instanceof StarError) || error.code === 'ERR_INTERNAL') throw error
        }
        while (this.#values.made.length > 200) this.#values.made.shift()!.release()
      }
    } finally {
      for (const tensor of this.#values.made) tensor.release()
    }
  }
}

/** @throws what the addon must not throw */
export function runProgram(bytes: Uint8Array): string {
  const program = new Program(bytes)
  program.run()
  return `calls ${program.calls} worked ${program.worked}`
}
