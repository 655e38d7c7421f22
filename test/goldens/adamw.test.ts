import t from 'tap'
import { AdamW } from '../../lib/optim/index.js'
import { scope, Tensor } from '../../lib/tensor/index.js'
import { Golden, relativeError, ruleParameter, ruleSigned, testDevice } from '../support/golden.js'

const golden = new Golden('adamw')
const { prefix, note } = golden.metadata
const number = (pattern: RegExp): number => Number(pattern.exec(note)![1])

t.test('clipped AdamW steps', async (t) => {
  const steps = golden.names.filter((name) => name.startsWith('w.')).length
  const jump = number(/at i=(\d+)/)
  const parameters = ['w', 'b'].map((name) => {
    const tensor = ruleParameter(`${prefix}adam_${name}`, { shape: golden.shape(`${name}.0`), base: 0, scale: 1 })
    tensor.requiresGrad = true
    return { name, tensor }
  })
  const optimizer = new AdamW(parameters, { maxNorm: number(/global norm ([\d.]+)/), noDecay: (name) => name === 'b' })
  for (let i = 0; i < steps; i++) {
    for (const { name, tensor } of parameters) {
      // One step has a large gradient on w, which clipping cuts down.
      const scale = i === jump && name === 'w' ? number(/\(([\d.]+) at i=/) : number(/\{i\}\*([\d.]+)/)
      const values = ruleSigned(`${prefix}adam_g${name}${i}`, tensor.count).map((v) => v * scale)
      tensor.grad = Tensor.from(values, tensor.shape, { device: testDevice })
    }
    const { gradNorm } = scope(() => optimizer.step({ lr: 1e-3, weightDecay: number(/wd ([\d.]+)/) }))
    t.ok(relativeError([gradNorm], golden.values(`norm.${i}`)) <= 2e-6, `norm at step ${i}: ${gradNorm}`)
    for (const { name, tensor } of parameters) {
      const error = relativeError(tensor.floats(), golden.values(`${name}.${i}`))
      t.ok(error <= 2e-6, `${name} after step ${i}: ${error}`)
      tensor.grad?.dispose()
      tensor.grad = null
    }
  }
})
