/** Calls of every function of the addon that computes, with arguments that fit. */
import type { NativeTensor } from '../../../lib/native/index.js'
import { floats, integers, type Shape, types, type Values } from './values.js'

/** A function's name and arguments that fit. */
export function fittingCall(values: Values): [string, unknown[]] {
  const { dice } = values
  const [n, l, c, v] = [values.side(), values.side(), values.side(), 1 + values.side()]
  const f = (): number => (dice.chance(90) ? 0.5 : dice.pick(floats))
  const b = (): boolean => dice.chance(50)
  const t = (shape: Shape): NativeTensor => values.tensor(shape)
  const single = (shape: Shape): NativeTensor => values.tensor(shape, 'f32')
  const maybe = (shape: Shape): NativeTensor | null => (b() ? t(shape) : null)
  const ids = (shape: Shape, top: number): NativeTensor => values.tensor(shape, 'i32', top)
  const [heads, d, parts] = [dice.pick([1, 2, 3]), dice.pick([2, 4, 8, 16, 33]), dice.pick([1, 2, 3])]
  const packed = t([n, l, parts * heads * d])
  const part = (): unknown[] => {
    const norm = b()
    const rope = d % 2 === 0 && b() ? single([l, d / 2, 2]) : null
    return [packed, heads, parts, dice.below(parts), norm, norm && b() ? single([heads]) : null, rope]
  }
  const keys = values.side()
  const attention = (): unknown[] => [t([n, l, heads, d]), t([n, keys, heads, d]), t([n, keys, heads, d])]
  const mask = (): unknown[] => [
    b() ? values.tensor([n, keys], 'u8') : null,
    b() ? values.tensor([l], 'i32', keys + 1) : null,
  ]
  const [h, w, kernel, out] = [1 + dice.below(9), 1 + dice.below(9), dice.pick([1, 2, 3]), values.side()]
  const padding = [1, 1, 1, 1].map((most) => dice.below(most + 1))
  const stride = dice.pick([1, 1, 2, 3])
  const oh = Math.floor((h + padding[0] + padding[2] - kernel) / stride) + 1
  const ow = Math.floor((w + padding[1] + padding[3] - kernel) / stride) + 1
  const x = values.shape()
  const groups = dice.pick([1, 2])
  const g = groups * (1 + dice.below(8))
  const norm = (): unknown[] => [single([n, groups]), single([n, groups]), t([g]), t([g])]
  const list = Array.from({ length: 1 + dice.below(3) }, () => values.shape())
  const parameters = list.map(single)
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
    () => ['cast', [values.tensor(x, dice.pick(types), 300), dice.pick(types)]],
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
    () => ['dequantizeRows', [values.tensor([v, c], 'i8'), single([v]), dice.pick(types)]],
    () => ['linearInt8', [t([n, l, c]), values.tensor([v, c], 'i8'), single([v]), maybe([v]), b()]],
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
        parameters,
        b() ? parameters : list.map((shape) => values.tensor(shape, dice.pick(['f16', 'bf16']))),
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
      [ids([n, l], 9), values.tensor([n, l], 'u8'), ids([n, l], 9), single([n, l]), dice.below(l + 2), b()],
    ],
    () => ['rowDistances', [t([n, l, c]), t([n, c])]],
    () => ['topPositions', [single([n, l]), dice.below(l + 2)]],
    () => ['gatherRows', [t([n, l, c]), ids([n, v], l)]],
    () => ['scatterRows', [t([n, l, c]), t([n, v, c]), ids([n, v], l)]],
    () => ['tensorAt', [values.tensor([64], 'u8'), dice.below(70), values.shape(1 + dice.below(2)), dice.pick(types)]],
    () => ['dropPages', [values.tensor(x, dice.pick(types), 9)]],
    () => ['copy', [values.tensor(x, dice.pick(types), 9), values.tensor(x, dice.pick(types), 9)]],
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
