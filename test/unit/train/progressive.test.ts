import t from 'tap'
import { type ProgressiveOptions, type Stage, stageAt } from '../../../lib/train/kinds/transformer/progressive.js'

const base: ProgressiveOptions = {
  share: 0.6,
  firstScale: 2,
  warmupSteps: 5,
  scales: 6,
  steps: 100,
  learningRateWarmup: 10,
}

/** The stages of a run, counting steps of a stage as a training loop does. */
function counted(o: ProgressiveOptions): Stage[] {
  const half = (x: number): number => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x))
  let [finest, inStage, first] = [-1, 0, true]
  return Array.from({ length: o.steps }, (_, step) => {
    const end = o.share * o.steps
    const now =
      step <= o.learningRateWarmup
        ? o.firstScale
        : step >= end
          ? o.scales - 1
          : o.firstScale +
            half(((step - o.learningRateWarmup) / (end - o.learningRateWarmup)) * (o.scales - 1 - o.firstScale))
    if (now !== finest) {
      if (finest >= 0) first = false
      ;[finest, inStage] = [now, 0]
    }
    inStage++
    const rising = Math.max(Math.min(inStage / (o.warmupSteps ?? o.steps / 300), 1), 0.01)
    return { finest, weight: first || finest === o.scales - 1 ? 1 : rising }
  })
}

t.test('a stage follows from the step alone', async (t) => {
  for (const o of [
    base,
    { ...base, warmupSteps: undefined, steps: 6000 },
    { ...base, learningRateWarmup: 0, share: 1 },
    { ...base, firstScale: 0, warmupSteps: 0.5 },
    { ...base, firstScale: 5 },
    { ...base, learningRateWarmup: 80 },
    { ...base, warmupSteps: 1000 },
  ])
    t.strictSame(
      Array.from({ length: o.steps }, (_, step) => stageAt(step, o)),
      counted(o),
      JSON.stringify(o),
    )
})

t.test('stages begin where the formula says', async (t) => {
  const finest = (step: number): number => stageAt(step, base).finest
  // Between steps 10 and 60 three scales are added: the boundaries of rounding lie at 1/6, 3/6 and 5/6 of the way.
  t.strictSame([0, 10, 18, 19].map(finest), [2, 2, 2, 3])
  t.strictSame([34, 36].map(finest), [3, 4])
  t.equal(finest(35), 4, '1.5 is rounded to 2, the even one')
  t.strictSame([51, 52, 60, 99].map(finest), [4, 5, 5, 5])
  t.strictSame(
    [19, 20, 23, 24].map((step) => stageAt(step, base).weight),
    [0.2, 0.4, 1, 1],
  )
  t.equal(stageAt(19, { ...base, warmupSteps: 1000 }).weight, 0.01)
  t.equal(stageAt(52, base).weight, 1, 'the last scale counts fully at once')
})
