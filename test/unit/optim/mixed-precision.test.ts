/** What training in 16 bits needs of the optimizer: masters, averaged masters, the loss scale. */
import t from 'tap'
import { AdamW, Ema, LossScaler } from '../../../lib/optim/index.js'
import { backward, cast, keep, mul, noGrad, scope, sub, sum, Tensor } from '../../../lib/tensor/index.js'
import { signed } from '../../support/gradcheck.js'

const floats = (x: Tensor): Float32Array => scope(() => noGrad(() => cast(x, 'f32').floats()))

function withGrad(tensor: Tensor, grad: Tensor): void {
  tensor.grad?.dispose()
  tensor.grad = keep(grad)
}

for (const dtype of ['f16', 'bf16'] as const) {
  t.test(`AdamW steps the f32 masters of ${dtype} parameters, which follow rounded`, async (t) => {
    using single = signed([300], 1)
    using half = signed([300], 1)
    using master = half.convert(dtype)
    t.equal(half.dtype, dtype)
    t.equal(master.dtype, 'f32')
    const optimizers = [
      new AdamW([{ name: 'w', tensor: single }], { maxNorm: 1 }),
      new AdamW([{ name: 'w', tensor: half, master }], { maxNorm: 1 }),
    ]
    for (let step = 0; step < 4; step++) {
      scope(() => {
        const rounded = cast(signed([300], 10 + step), dtype)
        withGrad(single, cast(rounded, 'f32'))
        withGrad(half, rounded)
        // Smaller than the distance of two neighbours in 16 bits, for most: steps that only masters can take.
        const norms = optimizers.map((o) => o.step({ lr: 1e-5, weightDecay: 0.05 }).gradNorm)
        t.equal(norms[0], norms[1])
      })
    }
    t.strictSame(master.floats(), single.floats())
    scope(() => t.strictSame(half.data(), cast(master, dtype).data()))
    t.notSame(floats(half), master.floats())
    for (const optimizer of optimizers) optimizer.dispose()
  })

  t.test(`averaged weights follow the masters of ${dtype} parameters`, async (t) => {
    using half = signed([50], 1)
    using master = half.convert(dtype)
    const first = master.floats()
    const ema = new Ema([{ name: 'w', tensor: half, master }], 0.9)
    master.write(first.map((v) => v + 1))
    half.copyFrom(master)
    ema.update(1)
    const [[, shadow]] = [...ema.tensors()]
    const expected = first.map((v) => v + 1 - 2 / 11)
    t.ok(shadow.floats().every((v, i) => Math.abs(v - expected[i]) < 1e-6))
    await ema.swapped(() => scope(() => t.strictSame(half.data(), cast(shadow, dtype).data())))
    scope(() => t.strictSame(half.data(), cast(master, dtype).data()))
    ema.dispose()
  })
}

const gradient = (value: number): Tensor => Tensor.from([value, 1], [2])

t.test('the loss scale doubles after 1000 steps, up to 2^15, and is halved where gradients overflow', async (t) => {
  using good = gradient(3)
  using infinite = gradient(Number.POSITIVE_INFINITY)
  using none = gradient(Number.NaN)
  const scaler = new LossScaler()
  t.equal(scaler.scale, 2 ** 11)
  const steps = (count: number): void => {
    for (let i = 0; i < count; i++) if (!scaler.accept([good])) t.fail('a good step was refused')
  }
  steps(999)
  t.equal(scaler.scale, 2 ** 11)
  steps(1)
  t.equal(scaler.scale, 2 ** 12)
  steps(998)
  t.notOk(scaler.accept([good, infinite]))
  t.equal(scaler.scale, 2 ** 11)
  t.notOk(scaler.accept([none]))
  t.equal(scaler.scale, 2 ** 10)
  steps(999)
  t.equal(scaler.scale, 2 ** 10, 'the count begins again')
  const other = new LossScaler()
  other.restore(JSON.parse(JSON.stringify(scaler.state())))
  t.ok(other.accept([good]))
  t.strictSame(other.state(), { scale: 2 ** 11, good: 0, skipped: 2 })
  steps(6001)
  t.equal(scaler.scale, 2 ** 15, 'not above the largest')
  const last = new LossScaler(2)
  t.notOk(last.accept([none]))
  t.throws(() => last.accept([none]), { code: 'ERR_ARGUMENT', message: /loss scale of 1.*learning rate/ })
})

t.test('a run whose first scales overflow ends where one with a fitting scale does, bit for bit', async (t) => {
  using target = Tensor.from([0.5, 0.25, -0.125], [3])
  /** Minimises Σ (w − target)² until 20 steps are taken. */
  const train = (scale: number) => {
    using w = Tensor.from([40, 0.5, 3], [3])
    w.requiresGrad = true
    const optimizer = new AdamW([{ name: 'w', tensor: w }])
    const scaler = new LossScaler(scale)
    let tried = 0
    for (let taken = 0; taken < 20; tried++) {
      scope(() => {
        const difference = sub(w, target)
        const lossScale = scaler.scale
        backward(sum(mul(difference, difference)), Tensor.from([lossScale], []))
        if (!scaler.accept([w.grad!])) return
        optimizer.step({ lr: 0.1, weightDecay: 0.05, lossScale })
        taken++
      })
      w.grad!.dispose()
      w.grad = null
    }
    const state = [w, ...[...optimizer.tensors()].map(([, tensor]) => tensor)].map((tensor) => tensor.floats())
    optimizer.dispose()
    return { state, tried, scaler: scaler.state() }
  }
  const fitting = train(2 ** 11)
  // 2^127·2·|w − target| is above f32's largest number until it has been halved a few times.
  const huge = train(2 ** 127)
  t.ok(huge.scaler.skipped > 0)
  t.equal(huge.scaler.scale, 2 ** (127 - huge.scaler.skipped))
  t.equal(huge.tried, 20 + huge.scaler.skipped)
  t.equal(fitting.tried, 20)
  // Powers of two change no digit of an f32 gradient, so nothing but the numbers of tries differs.
  t.strictSame(huge.state, fitting.state)
})
