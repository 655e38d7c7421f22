/** The transformer computing in 16 bits, and computing its blocks again during backward. */
import t from 'tap'
import { drawDropPath, type StarConfigInput, type StarTransformer, tokenLoss } from '../../../lib/models/star/index.js'
import { native } from '../../../lib/native/index.js'
import type { HalfType } from '../../../lib/nn/index.js'
import { backward, cast, noGrad, Random, scope } from '../../../lib/tensor/index.js'
import { tinyInput, tinyModel, tinyTargets, tinyText } from '../../support/tiny-star.js'

const batch = 3

/** Loss, and the gradients by name as f32. */
function gradients(model: StarTransformer, recompute = false): { loss: number; grads: Map<string, Float32Array> } {
  return scope(() => {
    const dropPath = drawDropPath(model.config, batch, new Random(5))
    const logits = model.forward({ input: tinyInput(batch), text: tinyText(batch), dropPath, recompute })
    const loss = tokenLoss(logits, tinyTargets(batch))
    backward(loss)
    const grads = new Map(
      [...model.namedTensors()]
        .filter(({ tensor }) => tensor.grad)
        .map(({ name, tensor }) => [name, noGrad(() => cast(tensor.grad!, 'f32').floats())]),
    )
    model.zeroGrad()
    return { loss: loss.item(), grads }
  })
}

const grid: Partial<StarConfigInput>[] = [
  {},
  { dropPath: 0.5 },
  { sharedAdaLN: true, attnL2Norm: false },
  { sharedAdaLN: true, dropPath: 0.5, crossAttention: 'first-sample' },
  { enableCross: false, rope: false },
]

for (const options of grid) {
  t.test(`blocks computed again give the same gradients, bit for bit: ${JSON.stringify(options)}`, async (t) => {
    using model = tinyModel({ depth: 3, ...options })
    const before = native.memory('cpu').liveBytes
    const plain = gradients(model)
    t.strictSame(different(gradients(model, true), plain), [])
    t.equal(plain.grads.size, model.parameters().length)
    t.equal(native.memory('cpu').liveBytes, before)
  })
}

t.test('blocks computed again take less memory', async (t) => {
  using model = tinyModel({ depth: 8 })
  const peak = (recompute: boolean): number => {
    native.resetPeakMemory('cpu')
    const before = native.memory('cpu').liveBytes
    gradients(model, recompute)
    return native.memory('cpu').peakBytes - before
  }
  peak(false)
  const [kept, again] = [peak(false), peak(true)]
  // Gradients of all parameters and one block's activations stay.
  t.ok(again < 0.5 * kept, `${again} of ${kept} bytes`)
})

/** Names of the gradients that differ in any bit, and of a loss that does. */
function different(a: ReturnType<typeof gradients>, b: ReturnType<typeof gradients>): string[] {
  const bits = (values?: Float32Array): string => String(values)
  const names = [...new Set([...a.grads.keys(), ...b.grads.keys()])]
  return [
    ...(a.loss === b.loss ? [] : ['loss']),
    ...names.filter((name) => bits(a.grads.get(name)) !== bits(b.grads.get(name))),
  ]
}

/** Largest difference over the root mean square of what is expected. */
function difference(given: Float32Array, expected: Float32Array): number {
  const rms = Math.sqrt(expected.reduce((s, v) => s + v * v, 0) / expected.length)
  return given.reduce((most, v, i) => Math.max(most, Math.abs(v - expected[i])), 0) / Math.max(rms, 1e-12)
}

for (const [dtype, tolerance] of [
  ['f16', 0.02],
  ['bf16', 0.15],
] as [HalfType, number][]) {
  for (const options of grid) {
    t.test(`in ${dtype} gradients are near those in f32: ${JSON.stringify(options)}`, async (t) => {
      using model = tinyModel(options)
      const single = gradients(model)
      const before = native.memory('cpu').liveBytes
      const masters = model.toHalf(dtype)
      const types = new Map([...model.namedTensors()].map(({ name, tensor }) => [name, tensor.dtype]))
      for (const [name, type] of types) t.equal(type, name.endsWith('scale_mul_1H11') ? 'f32' : dtype, name)
      t.strictSame([...masters.keys()].sort(), [...types.keys()].filter((name) => types.get(name) === dtype).sort())
      const half = gradients(model)
      t.ok(Math.abs(half.loss / single.loss - 1) < tolerance / 4, `loss ${half.loss}, in f32 ${single.loss}`)
      for (const [name, expected] of single.grads) {
        const found = difference(half.grads.get(name)!, expected)
        t.ok(found < tolerance * 4, `${name}: ${found}`)
      }
      t.strictSame(different(gradients(model, true), half), [], 'computed again')
      for (const [name, master] of masters) {
        const { tensor } = [...model.namedTensors()].find((own) => own.name === name)!
        t.strictSame(master.dtype, 'f32')
        t.ok(noGrad(() => scope(() => difference(cast(tensor, 'f32').floats(), master.floats()))) < 0.02, name)
        master.dispose()
      }
      t.ok(native.memory('cpu').liveBytes < before, 'the weights take less')
    })
  }
}
