import t from 'tap'
import { ropeTable } from '../../lib/models/star/index.js'
import { permute, reshape, scope, splitHeads, Tensor } from '../../lib/tensor/index.js'
import { testDevice as device, Golden, relativeError, ruleSigned } from '../support/golden.js'

const golden = new Golden('rope')
const { prefix } = golden.metadata
const options = { headSize: 64, theta: 10000, norm: 64 }
const pairs = options.headSize / 2

for (const name of golden.names.filter((n) => n.startsWith('cos.'))) {
  const side = Number(name.slice('cos.'.length))
  t.test(`table of ${side}×${side}`, async (t) => {
    scope(() => {
      const table = ropeTable([side], options, device).floats()
      const rows = golden.shape(name)[0]
      const stride = Math.max(1, Math.floor((side * side) / 64))
      const expect = { cos: golden.values(name), sin: golden.values(`sin.${side}`) }
      let worst = 0
      for (let r = 0; r < rows; r++) {
        for (let i = 0; i < pairs; i++) {
          const at = 2 * (r * stride * pairs + i)
          worst = Math.max(
            worst,
            Math.abs(table[at] - expect.cos[r * pairs + i]),
            Math.abs(table[at + 1] - expect.sin[r * pairs + i]),
          )
        }
      }
      t.ok(worst <= 1e-6, `largest difference ${worst}`)
    })
  })
}

for (const name of golden.names.filter((n) => /^[qk]_out\./.test(n))) {
  t.test(`rotation ${name}`, async (t) => {
    scope(() => {
      const [batch, heads, length, size] = golden.shape(name)
      const side = Number(name.split('.')[1])
      const values = ruleSigned(`${prefix}rope_${name[0]}`, batch * heads * length * size)
      const x = permute(Tensor.from(values, [batch, heads, length, size], { device }), [0, 2, 1, 3])
      const [y] = splitHeads(reshape(x, [batch, length, heads * size]), heads, [
        { rope: ropeTable([side], options, device) },
      ])
      t.ok(relativeError(permute(y, [0, 2, 1, 3]).floats(), golden.values(name)) <= 2e-5)
    })
  })
}
