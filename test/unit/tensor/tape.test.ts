import t from 'tap'
import { native } from '../../../lib/native/index.js'
import {
  add,
  backward,
  backwardFrom,
  clearTape,
  keep,
  mul,
  noGrad,
  recompute,
  record,
  reshape,
  scope,
  silu,
  sum,
  Tensor,
  tapeLength,
} from '../../../lib/tensor/index.js'
import { relativeError } from '../../support/compare.js'
import { gradcheck, signed } from '../../support/gradcheck.js'

const leaf = (values: number[]): Tensor => Tensor.from(values, [values.length], { requiresGrad: true })

t.test('a value used several ways gets the sum of its gradients', async (t) => {
  using x = leaf([1, 2, 3, 4])
  using y = leaf([5, 6, 7, 8])
  scope(() => {
    const s = add(x, y)
    const shaped = reshape(s, [2, 2])
    const twice = add(s, s)
    // d/ds = 2·(1 + …): once through the product, once through each sum.
    backward(sum(add(mul(reshape(shaped, [4]), x), add(twice, s))))
  })
  t.strictSame(
    [...x.grad!.floats()],
    [1, 2, 3, 4].map((v, i) => v + 3 + (v + [5, 6, 7, 8][i])),
  )
  t.strictSame(
    [...y.grad!.floats()],
    [1, 2, 3, 4].map((v) => v + 3),
  )
})

t.test('gradients of two leaves never share memory', async (t) => {
  using x = leaf([1, 2])
  using y = leaf([3, 4])
  using z = Tensor.from([5, 6], [2, 1], { requiresGrad: true })
  scope(() => backward(sum(add(add(x, y), reshape(z, [2])))))
  native.affineInto(x.grad!.handle, x.grad!.handle, null, 10, 0, 0)
  t.strictSame([...x.grad!.floats()], [10, 10])
  t.strictSame([...y.grad!.floats()], [1, 1])
  t.strictSame(z.grad!.shape, [2, 1])
  t.notOk(z.grad!.handle.shared())
  scope(() => backward(sum(add(x, y))))
  t.strictSame([...x.grad!.floats()], [11, 11], 'a second walk adds')
})

t.test('a seed is read only', async (t) => {
  using x = leaf([1, 2])
  using seed = Tensor.from([3, 4], [2])
  scope(() => {
    const y = add(x, 0)
    backward(add(y, add(y, y)), seed)
  })
  t.strictSame([...seed.floats()], [3, 4])
  t.strictSame([...x.grad!.floats()], [9, 12])
})

t.test('the tape frees what it held', async (t) => {
  using x = leaf([1, 2, 3])
  const before = native.memory('cpu').liveBytes
  scope(() => backward(sum(mul(x, add(x, x)))))
  x.grad!.dispose()
  x.grad = null
  t.equal(native.memory('cpu').liveBytes, before)
  scope(() => void mul(x, x))
  t.equal(tapeLength(), 1)
  clearTape()
  t.equal(native.memory('cpu').liveBytes, before)
  scope(() => noGrad(() => void mul(x, x)))
  t.equal(tapeLength(), 0)
  t.throws(() => backward(x), { code: 'ERR_SHAPE' })
  t.throws(() => scope(() => backwardFromConstant()), { code: 'ERR_ARGUMENT' })
})

function backwardFromConstant(): void {
  backward(sum(Tensor.from([1], [1])))
}

t.test('several roots go back in one walk', async (t) => {
  using x = leaf([1, 2])
  scope(() => {
    const y = mul(x, 2)
    const z = mul(x, 3)
    backwardFrom([
      [y, null],
      [z, Tensor.from([10, 20], [2])],
    ])
  })
  t.strictSame([...x.grad!.floats()], [32, 62])
})

t.test('a scope frees all but what it returns', async (t) => {
  const before = native.memory('cpu').liveBytes
  scope(() => {
    const kept = scope(() => {
      const a = Tensor.from(new Float32Array(1024), [1024])
      const b = add(a, 1)
      return { list: [b], nested: { c: mul(b, 2) } }
    })
    t.notOk(kept.list[0].disposed)
    t.equal(kept.nested.c.floats()[0], 2)
    t.equal(native.memory('cpu').liveBytes - before, 2 * 4096)
  })
  t.equal(native.memory('cpu').liveBytes, before, 'the outer scope frees what the inner one returned')
  t.throws(() =>
    scope(() => {
      Tensor.from([1], [1])
      throw new Error('half-way')
    }),
  )
  t.equal(native.memory('cpu').liveBytes, before, 'after an error as well')
  const held = scope(() => keep(Tensor.from([1], [1])))
  t.notOk(held.disposed)
  held.dispose()
  t.throws(() => scope(() => Promise.resolve()), TypeError)
  t.equal(native.memory('cpu').liveBytes, before)
})

t.test('backward twice is refused, and so is a way into a graph that is gone', async (t) => {
  using x = leaf([1, 2])
  const before = native.memory('cpu').liveBytes
  scope(() => {
    const y = mul(x, x)
    const loss = sum(y)
    backward(loss)
    t.throws(() => backward(loss), {
      code: 'ERR_ARGUMENT',
      message: /'sum', which an earlier backward or clearTape has used up/,
    })
    t.throws(() => backward(sum(y)), { code: 'ERR_ARGUMENT', message: /'mul'/ })
    t.equal(tapeLength(), 0)
    t.strictSame([...x.grad!.floats()], [2, 4], 'the gradient stands as it was')
    backward(sum(mul(y.detach(), x)))
    t.strictSame([...x.grad!.floats()], [3, 8])
  })
  x.grad!.dispose()
  x.grad = null
  t.equal(native.memory('cpu').liveBytes, before)
})

t.test('a backward function that fails leaves nothing behind', async (t) => {
  using x = leaf([1, 2])
  const before = native.memory('cpu').liveBytes
  t.throws(
    () =>
      scope(() => {
        const y = mul(x, x)
        const z = add(y, 0)
        record({
          name: 'broken',
          inputs: [y],
          outputs: [z],
          save: [y],
          backward: () => {
            throw new Error('broken')
          },
        })
        backward(sum(mul(z, z)))
      }),
    /broken/,
  )
  t.equal(tapeLength(), 0)
  t.equal(native.memory('cpu').liveBytes, before)
})

/** [x + 1, 2·x] as one node of two outputs. */
function pair(x: Tensor): [Tensor, Tensor] {
  const [a, b] = noGrad(() => [add(x, 1), mul(x, 2)])
  record({
    name: 'pair',
    inputs: [x],
    outputs: [a, b],
    backward: (_, [da, db]) => {
      if (da && db) return [new Tensor(native.affine(da.handle, db.handle, 1, 2, 0))]
      return [da ?? mul(db!, 2)]
    },
  })
  return [a, b]
}

t.test('a node of several outputs gets the gradients that there are', async (t) => {
  using x = leaf([1, 2])
  const grad = (fn: (a: Tensor, b: Tensor) => Tensor): number[] => {
    scope(() => backward(sum(fn(...pair(x)))))
    const values = [...x.grad!.floats()]
    x.grad!.dispose()
    x.grad = null
    return values
  }
  t.strictSame(
    grad((a) => a),
    [1, 1],
  )
  t.strictSame(
    grad((_, b) => b),
    [2, 2],
  )
  t.strictSame(
    grad((a, b) => add(a, b)),
    [3, 3],
  )
  t.strictSame(
    grad((a, b) => mul(a, b)),
    [6, 10],
  )
})

t.test('recompute gives what a plain call gives, and keeps nothing in between', async (t) => {
  using w = signed([6], 1)
  w.requiresGrad = true
  const block = (x: Tensor, y: Tensor): Tensor => mul(silu(add(mul(x, w), y)), silu(x))
  for (const [needX, needY] of [
    [true, true],
    [true, false],
    [false, false],
  ]) {
    using x = signed([4, 6], 2)
    using y = signed([4, 6], 3)
    x.requiresGrad = needX
    y.requiresGrad = needY
    const before = native.memory('cpu').liveBytes
    const run = (apply: (x: Tensor, y: Tensor) => Tensor): number[][] => {
      scope(() => {
        const z = apply(x, y)
        // The inputs are used outside as well, before and after.
        backward(sum(add(mul(z, x), y)))
      })
      const values = [w, x, y].map((p) => (p.grad ? [...p.grad.floats()] : []))
      for (const p of [w, x, y]) {
        p.grad?.dispose()
        p.grad = null
      }
      t.equal(native.memory('cpu').liveBytes, before)
      return values
    }
    const plain = run(block)
    // The same sums in another order, since the block's own share of a gradient is added up first.
    const same = (given: number[][]): boolean => given.every((values, i) => relativeError(values, plain[i]) < 1e-6)
    t.ok(same(run((x, y) => recompute(block, x, y))), `${needX} ${needY}`)
    t.ok(same(run((x, y) => recompute((x, y) => recompute(block, x, y), x, y))), 'one inside another')
  }
  using x = signed([4, 6], 2)
  x.requiresGrad = true
  scope(() => {
    const length = tapeLength()
    recompute((x) => silu(silu(silu(x))), x)
    t.equal(tapeLength(), length + 1)
    clearTape()
  })
  t.ok(gradcheck((x) => recompute((x) => x, x), [x]) < 1e-3, 'a function that returns its input')
  t.ok(gradcheck((x) => recompute((x) => silu(x), mul(x, 2)), [x]) < 1e-3, 'of a value in the middle of the tape')
})

t.test('a gradient that reaches one recomputed input twice leaks nothing', async (t) => {
  using x = signed([64], 4)
  x.requiresGrad = true
  const before = native.memory('cpu').liveBytes
  scope(() => {
    const a = mul(x, 3)
    backward(sum(add(recompute(silu, a), recompute(silu, a))))
  })
  x.grad!.dispose()
  x.grad = null
  t.equal(native.memory('cpu').liveBytes, before)
})

t.test('backward tells of each leaf once, when its gradient is complete', async (t) => {
  using early = leaf([1, 2])
  using late = leaf([3, 4])
  using inside = leaf([5, 6])
  using unused = leaf([7, 8])
  const told: number[][] = []
  const run = (onReady: boolean): number[][] => {
    const order: Tensor[] = []
    scope(() => {
      const first = mul(early, inside)
      const block = (x: Tensor): Tensor =>
        mul(
          recompute((y) => mul(y, inside), x),
          late,
        )
      const loss = sum(add(recompute(block, first), late))
      if (!onReady) return backward(loss)
      backward(loss, undefined, (leaf) => {
        order.push(leaf)
        told.push([...leaf.grad!.floats()])
      })
    })
    if (onReady) t.ok(order.length === 3 && [late, early, inside].every((leaf, i) => leaf === order[i]), 'in turn')
    return [early, late, inside].map((leaf) => {
      const grad = [...leaf.grad!.floats()]
      leaf.grad!.dispose()
      leaf.grad = null
      return grad
    })
  }
  const expected = run(false)
  t.strictSame(run(true), expected)
  const [e, l, i] = expected
  t.strictSame(told, [l, e, i], 'no gradient changes after it was told of')
  t.equal(unused.grad, null)
})
