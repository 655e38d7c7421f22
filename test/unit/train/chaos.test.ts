/** One round of each fault; `npm run chaos` makes as many as are asked for. */
import t from 'tap'
import { Random } from '../../../lib/tensor/index.js'
import { faults, missingFaults, TrainingChaos } from '../../chaos/training.js'

t.test('a training that meets a fault ends in the same weights', async (t) => {
  const chaos = await TrainingChaos.prepare(t.testdir())
  const seed = Date.now() % 2 ** 32
  const random = new Random(seed)
  t.comment(`seed ${seed}`)
  const missing = missingFaults()
  for (const [number, name] of Object.keys(faults).entries()) {
    const skip = missing.get(name)
    await t.test(name, { skip }, (t) => t.resolves(chaos.round(name, number, random)))
  }
})
