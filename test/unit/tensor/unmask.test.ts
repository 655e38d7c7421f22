import t from 'tap'
import { scope, Tensor, unmask } from '../../../lib/tensor/index.js'
import { testDevice as device } from '../../support/golden.js'

/** The op's rule, position by position. */
function reference(
  ids: number[],
  known: number[],
  drawn: readonly number[],
  score: readonly number[],
  fix: number,
  amongAll: boolean,
): void {
  const value = (i: number) => (Number.isNaN(score[i]) ? Number.NEGATIVE_INFINITY : score[i])
  const candidates = ids.map((_, i) => i).filter((i) => amongAll || !known[i])
  candidates.sort((a, b) => (value(b) > value(a) ? 1 : value(b) < value(a) ? -1 : a - b))
  for (const i of candidates.slice(0, fix))
    if (!known[i]) {
      ids[i] = drawn[i]
      known[i] = 1
    }
}

t.test('fixes the highest scores, of the open positions or of all', async (t) => {
  let state = 12345
  const random = (n: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % n
  }
  for (const [rows, length] of [
    [1, 1],
    [2, 7],
    [3, 64],
    [2, 1000],
  ]) {
    for (const fix of [0, 1, Math.ceil(length / 3), length, length + 5]) {
      for (const amongAll of [false, true]) {
        const count = rows * length
        const ids = Array.from({ length: count }, () => random(50))
        const known = Array.from({ length: count }, () => (random(3) === 0 ? 1 : 0))
        const drawn = Array.from({ length: count }, () => 100 + random(50))
        // Few different scores, so that there are ties; one that is no number.
        const score = Array.from({ length: count }, () => random(8) / 8)
        score[random(count)] = Number.NaN
        const tensors = scope(() => {
          const t = {
            ids: Tensor.from(Int32Array.from(ids), [rows, length], { device }),
            known: Tensor.from(Uint8Array.from(known), [rows, length], { device }),
            drawn: Tensor.from(Int32Array.from(drawn), [rows, length], { device }),
            score: Tensor.from(Float32Array.from(score), [rows, length], { device }),
          }
          unmask({ ...t, fix, amongAll })
          return { ids: [...t.ids.ints()], known: [...t.known.data()] }
        })
        const expected = { ids: [] as number[], known: [] as number[] }
        for (let r = 0; r < rows; r++) {
          const part = <T>(x: T[]) => x.slice(r * length, (r + 1) * length)
          const [i, k] = [part(ids), part(known)]
          reference(i, k, part(drawn), part(score), fix, amongAll)
          expected.ids.push(...i)
          expected.known.push(...k)
        }
        t.strictSame(
          tensors,
          expected,
          `${rows} x ${length}, fix ${fix}, ${amongAll ? 'among all' : 'among open ones'}`,
        )
      }
    }
  }
})

t.test('refuses shapes that differ', async (t) => {
  scope(() => {
    const ids = Tensor.from(Int32Array.of(0, 0), [1, 2], { device })
    const known = Tensor.from(Uint8Array.of(0, 0), [1, 2], { device })
    const score = Tensor.from(Float32Array.of(0, 0, 0), [1, 3], { device })
    t.throws(() => unmask({ ids, known, drawn: ids, score, fix: 1 }), { code: 'ERR_SHAPE' })
  })
})
