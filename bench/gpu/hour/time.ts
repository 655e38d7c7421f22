/**
 * One workload, timed on a device or on paper; prints one line of JSON, a `Timed`.
 * node time.js DEVICE NAME         on the device
 * node time.js DEVICE NAME CARD    on paper, for this card
 */
import { loadSimt } from '../../../lib/native/devices.js'
import { native } from '../../../lib/native/index.js'
import type { CardName } from '../../../lib/plan/index.js'
import { resolveDevice } from '../../../lib/tensor/index.js'
import { timeOnPaper } from '../../../lib/train/paper-clock.js'
import type { Timed } from './results.js'
import { ignoredParts, timedSteps, type Workload, workloads } from './workloads.js'

async function onPaper(workload: Workload, card: CardName): Promise<Timed> {
  const recorded = workload.kind === 'picture'
  const { parts, seconds, peakBytes } = await timeOnPaper({ card, recorded, ignore: ignoredParts }, (options) =>
    workload.run(options, false),
  )
  return { ms: 1000 * seconds, peakBytes, parts: parts.map(({ part, seconds }) => ({ part, ms: 1000 * seconds })) }
}

/**
 * Parts are waited for one by one. Of a training's step that would keep host and device from working beside each other, so its
 * time is the median of steps whose parts nobody waits for, and the last step gives the parts.
 */
async function onDevice(workload: Workload, device: string): Promise<Timed> {
  const training = workload.kind === 'training step'
  const whole: number[] = []
  const parts: Timed['parts'] = []
  let begin = performance.now()
  const { peakBytes } = await workload.run(
    {
      device,
      onPart(part) {
        if (training && whole.length !== timedSteps - 1) return
        native.synchronize(device)
        const end = performance.now()
        if (!ignoredParts.includes(part)) parts.push({ part, ms: end - begin })
        begin = end
      },
      onStep(seconds) {
        whole.push(1000 * seconds)
        // Ends the last step's update as well, which has its name only when all steps are done.
        if (whole.length === timedSteps) parts.push({ part: 'optimizer', ms: performance.now() - begin })
        begin = performance.now()
      },
    },
    true,
  )
  if (!training) return { ms: parts.reduce((sum, { ms }) => sum + ms, 0), peakBytes, parts }
  const ordered = whole.slice(1, -1).sort((a, b) => a - b)
  return { ms: ordered[ordered.length >> 1], peakBytes, parts }
}

const [device, name, card] = process.argv.slice(2)
const workload = workloads(device === 'simt').find((work) => work.name === name)
if (!workload) throw new Error(`there is no workload "${name}"`)
const timed = card
  ? await onPaper(workload, card as CardName)
  : await onDevice(workload, device === 'simt' ? loadSimt() : resolveDevice(device))
process.stdout.write(`${JSON.stringify(timed)}\n`)
