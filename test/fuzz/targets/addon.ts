/**
 * The native addon under attack. An input is a program: its bytes choose functions and arguments, most of which fit each other,
 * so that kernels run, while one now and then is anything: a number up to 2^53 or not a number, a tensor of another shape or type,
 * one that was released, an array with getters. Threads run other programs at the same time.
 */
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { StarError } from '../../../lib/native/error.js'
import { type NativeTensor, native } from '../../../lib/native/index.js'
import type { FuzzTarget } from '../target.js'

type Shape = number[]
type DType = 'f32' | 'f16' | 'bf16' | 'i32' | 'u8' | 'i8'

/** Numbers out of the input; zeros behind its end. */
class Dice {
  #at = 0
  constructor(readonly bytes: Uint8Array) {}
  get left(): number {
    return this.bytes.length - this.#at
  }
  byte(): number {
    return this.bytes[this.#at++] ?? 0
  }
  below(n: number): number {
    return (this.byte() * 256 + this.byte()) % n
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]
  }
  chance(percent: number): boolean {
    return this.byte() < percent * 2.56
  }
}

const floats = [0, 1, -1, 0.5, 1e-6, 3, -0, NaN, Infinity, -Infinity, 1e38, 1e-45]
/** As sizes these are either small or more than any machine has. */
const integers = [
  0,
  1,
  2,
  3,
  4,
  5,
  7,
  8,
  16,
  33,
  -1,
  -2,
  2 ** 36,
  2 ** 40,
  2 ** 53 - 1,
  -(2 ** 53) + 1,
  0.5,
  NaN,
  Infinity,
]
const dims = [1, 2, 3, 4, 5, 8, 16, 17, 33]
const types: readonly DType[] = ['f32', 'f32', 'f32', 'f16', 'bf16', 'i32', 'u8', 'i8']

class Program {
  readonly #dice: Dice
  readonly #made: NativeTensor[] = []
  readonly #type: DType
  readonly #sides: readonly number[]
  calls = 0
  worked = 0

  constructor(bytes: Uint8Array) {
    this.#dice = new Dice(bytes)
    this.#type = this.#dice.pick(['f32', 'f32', 'f16', 'bf16'] as const)
    this.#sides = [this.#dim(), this.#dim(), this.#dim()]
  }

  #dim(): number {
    return this.#dice.pick(dims)
  }

  /** One of the few sides of this program, so that tensors fit. */
  #side(): number {
    return this.#dice.chance(92) ? this.#dice.pick(this.#sides) : this.#dice.chance(50) ? 0 : this.#dim()
  }

  #shape(rank = this.#dice.below(5)): Shape {
    return Array.from({ length: rank }, () => this.#side())
  }

  /** Elements by a rule that one byte of the input chooses, so that an input is long enough for many calls. */
  #tensor(shape: Shape, type: DType = this.#type, top = 0): NativeTensor {
    const tensor = native.empty(shape, type, 'cpu')
    this.#made.push(tensor)
    const bytes = tensor.read().byteLength
    let state = this.#dice.byte()
    const odd = state % 4 === 0
    const next = (n: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return (state >>> 8) % n
    }
    const strange = (): boolean => odd && next(16) === 0
    const values = <T>(count: number, usual: () => T, wrong: () => T): T[] =>
      Array.from({ length: count }, () => (strange() ? wrong() : usual()))
    if (type === 'i32')
      tensor.write(
        Int32Array.from(
          values(
            bytes / 4,
            () => next(Math.max(1, top)),
            () => [-1, 2e9, -2e9, top][next(4)],
          ),
        ),
      )
    else if (type === 'u8')
      tensor.write(
        Uint8Array.from(
          values(
            bytes,
            () => next(2),
            () => 255,
          ),
        ),
      )
    else if (type === 'i8')
      tensor.write(
        Int8Array.from(
          values(
            bytes,
            () => next(255) - 127,
            () => -128,
          ),
        ),
      )
    else if (type === 'f32')
      tensor.write(
        Float32Array.from(
          values(
            bytes / 4,
            () => next(256) / 64 - 2,
            () => floats[next(floats.length)],
          ),
        ),
      )
    else
      tensor.write(
        Uint16Array.from(
          values(
            bytes / 2,
            () => 0x3c00,
            () => next(65_536),
          ),
        ),
      )
    return tensor
  }

  #anything(): unknown {
    const dice = this.#dice
    switch (dice.below(14)) {
      case 0:
        return dice.pick(integers)
      case 1:
        return dice.pick(floats)
      case 2:
        return null
      case 3:
        return undefined
      case 4:
        return dice.pick(['cpu', 'add', 'sum', 'f32', 'silu', '', 'nowhere', '\0'])
      case 5:
        return this.#made.length > 0 ? dice.pick(this.#made) : {}
      case 6:
        return this.#tensor(this.#shape(), dice.pick(types), 4)
      case 7: {
        const released = native.empty([1], 'f32', 'cpu')
        released.release()
        return released
      }
      case 8:
        return Array.from({ length: dice.below(10) }, () => dice.pick(integers))
      case 9:
        return Array.from({ length: dice.below(3) }, () => this.#tensor(this.#shape(), dice.pick(types), 4))
      case 10: {
        // A getter that releases what was read before it.
        const list: unknown[] = [1, 1, 1]
        const made = this.#made
        Object.defineProperty(list, 1, {
          get: () => {
            for (const tensor of made) tensor.release()
            native.trimMemory('cpu')
            return 1
          },
        })
        return list
      }
      case 11:
        return new Float32Array(dice.below(4))
      case 12: {
        const list: unknown[] = []
        list.length = 2 ** 32 - 1
        return list
      }
      default:
        return {}
    }
  }

  /** A function's name and arguments that fit. */
  #call(): [string, unknown[]] {
    const dice = this.#dice
    const [n, l, c, v] = [this.#side(), this.#side(), this.#side(), 1 + this.#side()]
    const f = (): number => (dice.chance(90) ? 0.5 : dice.pick(floats))
    const b = (): boolean => dice.chance(50)
    const t = (shape: Shape): NativeTensor => this.#tensor(shape)
    const single = (shape: Shape): NativeTensor => this.#tensor(shape, 'f32')
    const maybe = (shape: Shape): NativeTensor | null => (b() ? t(shape) : null)
    const ids = (shape: Shape, top: number): NativeTensor => this.#tensor(shape, 'i32', top)
    const [heads, d, parts] = [dice.pick([1, 2, 3]), dice.pick([2, 4, 8, 16, 33]), dice.pick([1, 2, 3])]
    const packed = t([n, l, parts * heads * d])
    const part = (): unknown[] => {
      const norm = b()
      const rope = d % 2 === 0 && b() ? single([l, d / 2, 2]) : null
      return [packed, heads, parts, dice.below(parts), norm, norm && b() ? single([heads]) : null, rope]
    }
    const keys = this.#side()
    const attention = (): unknown[] => [t([n, l, heads, d]), t([n, keys, heads, d]), t([n, keys, heads, d])]
    const mask = (): unknown[] => [
      b() ? this.#tensor([n, keys], 'u8') : null,
      b() ? this.#tensor([l], 'i32', keys + 1) : null,
    ]
    const [h, w, kernel, out] = [1 + dice.below(9), 1 + dice.below(9), dice.pick([1, 2, 3]), this.#side()]
    const padding = [1, 1, 1, 1].map((most) => dice.below(most + 1))
    const stride = dice.pick([1, 1, 2, 3])
    const oh = Math.floor((h + padding[0] + padding[2] - kernel) / stride) + 1
    const ow = Math.floor((w + padding[1] + padding[3] - kernel) / stride) + 1
    const x = this.#shape()
    const groups = dice.pick([1, 2])
    const g = groups * (1 + dice.below(8))
    const norm = (): unknown[] => [single([n, groups]), single([n, groups]), t([g]), t([g])]
    const list = Array.from({ length: 1 + dice.below(3) }, () => this.#shape())
    const recipes: (() => [string, unknown[]])[] = [
      () => ['heads', part()],
      () => ['headsInto', [t([n, l + 2, heads, d]), dice.below(3), ...part()]],
      () => ['headsBackward', [t([n, l, parts * heads * d]), t([n, l, heads, d]), b(), ...part()]],
      () => ['attention', [...attention(), ...mask(), keys, f(), b()]],
      () => [
        'attentionBackward',
        [t([n, l, heads, d]), t([n, l, heads, d]), single([n, heads, l]), ...attention(), ...mask(), f()],
      ],
      () => ['conv2d', [t([n, h, w, c]), t([out, c, kernel, kernel]), maybe([out]), stride, padding, 1]],
      () => ['conv2dBackwardData', [t([n, oh, ow, out]), t([out, c, kernel, kernel]), h, w, stride, padding, 1]],
      () => ['conv2dBackwardWeight', [t([n, oh, ow, out]), t([n, h, w, c]), kernel, kernel, b(), stride, padding, 1]],
      () => ['affine', [t(x), maybe(x), f(), f(), f()]],
      () => ['affineInto', [t(x), t(x), maybe(x), f(), f(), f()]],
      () => ['binary', [t([n, l, c]), t([l]), dice.pick(['add', 'sub', 'mul', 'div']), n, l, c]],
      () => ['unary', [t(x), dice.pick(['silu', 'gelu', 'geluErf', 'exp', 'log', 'sqrt', 'clamp', 'tanh']), f(), f()]],
      () => ['unaryBackward', [t(x), t(x), dice.pick(['silu', 'gelu', 'geluErf', 'leakyRelu', 'clamp']), f(), f()]],
      () => ['cast', [this.#tensor(x, dice.pick(types), 300), dice.pick(types)]],
      () => ['full', [x, dice.pick(types), 'cpu', f()]],
      () => [
        'permute',
        [
          t([n, l, c]),
          dice.pick([
            [0, 1, 2],
            [2, 1, 0],
            [1, 0, 2],
            [1, 2, 0],
            [0, 2, 1],
          ]),
        ],
      ],
      () => ['concat', [[t([n, l]), t([n, c]), t([n, l])], 1]],
      () => ['sliceAxis', [t([n, l, c]), 1, 0, l]],
      () => ['copyInto', [t([n, l + 3, c]), t([n, l, c]), 1, dice.below(4)]],
      () => ['crossEntropy', [t([n, v]), ids([n], v), f()]],
      () => ['crossEntropyBackward', [single([n]), t([n, v]), single([n]), ids([n], v), f()]],
      () => ['matmul', [t([n, l, c]), t([n, c, v]), false, false]],
      () => ['matmulSum', [t([n, c, l]), t([n, c, v]), true, false]],
      () => ['linear', [t([n, l, c]), t([v, c]), maybe([v]), b(), b()]],
      () => ['linearBackwardInput', [t([n, l, v]), t([v, c]), b() ? t([n, l, c]) : null]],
      () => ['linearBackwardWeight', [t([n, l, v]), t([n, l, c]), b()]],
      () => ['quantizeRows', [t([n, c])]],
      () => ['dequantizeRows', [this.#tensor([v, c], 'i8'), single([v]), dice.pick(types)]],
      () => ['linearInt8', [t([n, l, c]), this.#tensor([v, c], 'i8'), single([v]), maybe([v]), b()]],
      () => ['layerNorm', [t([n, l, c]), maybe([c]), maybe([c]), b(), 1e-5]],
      () => [
        'layerNormBackward',
        [t([n, l, c]), t([n, l, c]), single([n * l]), single([n * l]), maybe([c]), [c], b(), b(), b(), b()],
      ],
      () => ['groupNorm', [t([n, l, g]), t([g]), t([g]), groups, 1e-5, b()]],
      () => ['groupNormBackward', [t([n, l, g]), t([n, l, g]), ...norm(), groups, b(), b(), b(), b()]],
      () => ['softmax', [t([n, l, c]), f()]],
      () => ['softmaxBackward', [t([n, c]), t([n, c]), f()]],
      () => ['globalNorm', [list.map(t)]],
      () => ['finite', [list.map(t)]],
      () => [
        'adamw',
        [
          list.map(single),
          list.map(t),
          list.map(single),
          list.map(single),
          new Float32Array(list.length),
          null,
          1,
          1,
          1e-3,
          0.9,
          0.95,
          1e-8,
          1 + dice.below(5),
        ],
      ],
      () => ['embedding', [t([v, c]), ids([n, l], v)]],
      () => ['embeddingBackward', [t([n, l, c]), ids([n, l], v), v]],
      () => ['nearestRow', [t([n, l, c]), t([v, c])]],
      () => [
        'random',
        [x, 'cpu', dice.pick(['uniform', 'normal', 'truncatedNormal', 'gumbel']), f(), f(), 1, 2, dice.below(100)],
      ],
      () => ['reduce', [t([n, l, c]), dice.pick(['sum', 'sumSquares', 'sumAbs', 'max']), n, l, c, f()]],
      () => ['resample', [t([n, h, w, c]), dice.pick(['area', 'bicubic']), 1 + dice.below(12), 1 + dice.below(12)]],
      () => ['resample', [t([n, h, w, c]), 'nearest2x', 2 * h, 2 * w]],
      () => [
        'resampleBackward',
        [t([n, h, w, c]), dice.pick(['area', 'bicubic']), 1 + dice.below(12), 1 + dice.below(12)],
      ],
      () => ['draw', [t([n, v]), single([n]), dice.below(v + 2), f()]],
      () => ['filterProbabilities', [t([n, v]), dice.below(v + 2), f()]],
      () => ['gumbelMix', [t([n, v]), t([n, v]), t([v, c]), dice.below(v + 2), f(), f(), f()]],
      () => [
        'unmask',
        [ids([n, l], 9), this.#tensor([n, l], 'u8'), ids([n, l], 9), single([n, l]), dice.below(l + 2), b()],
      ],
      () => ['rowDistances', [t([n, l, c]), t([n, c])]],
      () => ['topPositions', [single([n, l]), dice.below(l + 2)]],
      () => ['gatherRows', [t([n, l, c]), ids([n, v], l)]],
      () => ['scatterRows', [t([n, l, c]), t([n, v, c]), ids([n, v], l)]],
      () => ['tensorAt', [this.#tensor([64], 'u8'), dice.below(70), this.#shape(1 + dice.below(2)), dice.pick(types)]],
      () => ['dropPages', [this.#tensor(x, dice.pick(types), 9)]],
      () => ['copy', [this.#tensor(x, dice.pick(types), 9), this.#tensor(x, dice.pick(types), 9)]],
      () => [
        'resizeLanczos',
        [new Uint8Array(h * w * 3), [w, h], [0, 0, w, h], [1 + dice.below(20), 1 + dice.below(20)], b()],
      ],
      () => ['launchGraph', ['cpu', dice.pick(integers)]],
      () => ['endCapture', ['cpu', b()]],
      () => ['memory', ['cpu']],
    ]
    return dice.pick(recipes)()
  }

  #method(): void {
    const dice = this.#dice
    if (this.#made.length === 0) return
    const tensor = dice.pick(this.#made) as unknown as Record<string, (...args: unknown[]) => unknown>
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
    const args = name === 'reshape' ? [[-1, 1]] : name === 'slice' ? [0, dice.below(4)] : [this.#anything()]
    this.#keep(tensor[name](...(dice.chance(20) ? [this.#anything(), this.#anything()] : args)))
  }

  #keep(result: unknown): void {
    for (const one of Array.isArray(result) ? result : [result]) {
      if (one instanceof Promise) one.catch(() => {})
      else if (typeof one === 'object' && one !== null && 'release' in one) this.#made.push(one as NativeTensor)
    }
  }

  run(): void {
    const functions = native as unknown as Record<string, (...args: unknown[]) => unknown>
    try {
      while (this.#dice.left > 0 && this.calls < 20) {
        this.calls++
        try {
          if (this.#dice.chance(15)) {
            this.#method()
          } else {
            const [name, args] = this.#call()
            while (this.#dice.left > 0 && this.#dice.chance(25))
              args[this.#dice.below(args.length + 1)] = this.#anything()
            this.#keep(functions[name](...args))
          }
          this.worked++
        } catch (error) {
          if (!(error instanceof StarError) || error.code === 'ERR_INTERNAL') throw error
        }
        while (this.#made.length > 200) this.#made.shift()!.release()
      }
    } finally {
      for (const tensor of this.#made) tensor.release()
    }
  }
}

/** @throws what the addon must not throw */
export function runProgram(bytes: Uint8Array): string {
  const program = new Program(bytes)
  program.run()
  return `calls ${program.calls} worked ${program.worked}`
}

/** Other threads that run programs of their own all the while. */
const threads = 2

export const addon: FuzzTarget = {
  name: 'addon',
  sources: [],
  seeds: () =>
    Array.from({ length: 12 }, (_, i) =>
      Buffer.from(Uint8Array.from({ length: 600 }, (_, k) => (Math.imul(i * 7919 + k + 1, 0x9e3779b1) >>> 13) & 255)),
    ),
  open: (scratch) => {
    const workers = Array.from(
      { length: threads },
      (_, i) =>
        new Worker(join(import.meta.dirname, '..', 'addon-thread.js'), {
          workerData: { seed: process.pid * 10 + i, note: join(scratch, `thread-${i}`) },
        }),
    )
    let failure: Error | null = null
    for (const worker of workers) {
      worker.unref()
      worker.on('error', (error) => {
        failure = error
      })
    }
    return {
      run: (input) => {
        if (failure) throw failure
        const kind = runProgram(input)
        const { liveBytes } = native.memory('cpu')
        if (liveBytes > 1e9) throw new Error(`${liveBytes} bytes are left behind`)
        return kind
      },
      // Ends them while they work.
      close: async () => {
        await Promise.all(workers.map((worker) => worker.terminate()))
      },
    }
  },
}
