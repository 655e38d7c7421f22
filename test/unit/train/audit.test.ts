// What every published run gives to a GPU is legal: training steps with their own batch sizes and pictures in every precision go
// through the audit of native/simt, which checks launches, library calls, pointers and recordings, and computes nothing. That the
// audit finds what is wrong is tested in test/native/simt_audit_test.cc.
import t, { type Test } from 'tap'
import { publishedScales, starConfig } from '../../../lib/models/star/index.js'
import { tokenizerSchema } from '../../../lib/models/tokenizer/index.js'
import { loadSimt } from '../../../lib/native/devices.js'
import { native } from '../../../lib/native/index.js'
import type { WeightType } from '../../../lib/nn/index.js'
import { type ResolvedOptimizer, resolveOptimizer } from '../../../lib/train/config/resolve.js'
import { modelOfRun } from '../../../lib/train/kinds/transformer/plan.js'
import {
  type Rehearsed,
  rehearseGeneration,
  rehearseSamplerStep,
  rehearseTokenizerStep,
  rehearseTransformerStep,
} from '../../../lib/train/rehearsal.js'
import { readRunConfig } from '../../../lib/train/run-config.js'

process.env.STAR_SIMT_AUDIT = '1'
process.env.STAR_SIMT_CHECK = '0'
const device = loadSimt()

/** Consumer cards have the least shared memory; on other generations the sizes of workspaces differ. */
const strictest = 86
const others = [80, 89, 90, 100, 120]

async function audited(t: Test, capability: number, run: () => Promise<Rehearsed>): Promise<number> {
  process.env.STAR_SIMT_MACHINE = `capability=${capability}`
  const before = native.memory(device).liveBlocks
  const { peakBytes } = await run()
  t.ok(peakBytes > 0, `${(peakBytes / 1e9).toFixed(1)} GB at most`)
  t.equal(native.memory(device).liveBlocks, before, 'all memory is given back')
  return peakBytes
}

/** Lengths in epochs are resolved with any number of steps. */
const stepsPerEpoch = 1000

function trainingStep(
  name: string,
  precision: WeightType,
  changes: Partial<ResolvedOptimizer> = {},
): () => Promise<Rehearsed> {
  const { config: run } = readRunConfig(`configs/${name}.json`)
  const optimizer = { ...resolveOptimizer(run.optimizer, stepsPerEpoch), ...changes }
  if (run.kind === 'transformer') {
    const { config } = modelOfRun(run)
    const tokenizer = tokenizerSchema.parse({ patchNums: config.patchNums })
    return () => rehearseTransformerStep({ run: { ...run, precision }, config, optimizer, tokenizer }, { device })
  }
  if (run.kind !== 'sampler') throw new Error(`${name} is of kind ${run.kind}`)
  const patchNums = [...publishedScales.get(1024)!]
  const config = starConfig({ depth: 30, width: 1920, heads: 30, patchNums, textWidth: 1024 })
  const { stableFrom } = run
  const tokenizer = tokenizerSchema.parse({ patchNums })
  return () => rehearseSamplerStep({ config, stableFrom, optimizer, precision, tokenizer }, { device })
}

const published = [
  'config_d16_256',
  'config_d30_stage2_256',
  'config_d30_512',
  'config_d30_1024',
  'config_d30_samplev3_1024',
]
for (const name of published)
  for (const precision of ['bf16', 'f16', 'f32'] as const)
    t.test(`a training step of ${name} in ${precision}`, (t) => audited(t, strictest, trainingStep(name, precision)))

for (const precision of ['bf16', 'f16', 'f32'] as const)
  t.test(`a training step with Muon in ${precision}`, (t) =>
    audited(t, strictest, trainingStep('config_d16_256', precision, { kind: 'muon', batchSize: 8 })),
  )

for (const precision of ['bf16', 'f32'] as const)
  t.test(`a training step of the tokenizer at 256² in ${precision}`, (t) =>
    audited(t, strictest, () =>
      rehearseTokenizerStep(
        {
          config: tokenizerSchema.parse({}),
          resolution: 256,
          optimizer: resolveOptimizer(readRunConfig('configs/emoji-64-tokenizer.json').config.optimizer, stepsPerEpoch),
          precision,
        },
        { device },
      ),
    ),
  )

function pictures(side: number, images: number, dtype: WeightType, stable: boolean, recorded: boolean) {
  const depth = side === 256 ? 16 : 30
  const patchNums = publishedScales.get(side)!
  return () => rehearseGeneration({ depth, patchNums, images, dtype, stable, recorded }, { device })
}

for (const side of [256, 512, 1024])
  for (const dtype of ['bf16', 'f32'] as const)
    for (const stable of [false, true])
      for (const recorded of [false, true])
        t.test(
          `pictures of ${side}² in ${dtype}${stable ? ', in steps' : ''}${recorded ? ', recorded' : ''}`,
          async (t) => {
            for (const images of [1, 2, 8]) await audited(t, strictest, pictures(side, images, dtype, stable, recorded))
          },
        )

// Its products are of bytes, with a pass of our own before and after each.
for (const recorded of [false, true])
  t.test(`pictures of 256² and 1024² in 8 bits${recorded ? ', recorded' : ''}`, async (t) => {
    for (const side of [256, 1024])
      for (const stable of [false, true]) {
        const work = {
          depth: side === 256 ? 16 : 30,
          patchNums: publishedScales.get(side)!,
          images: 2,
          stable,
          recorded,
        }
        const peaks: number[] = []
        for (const dtype of ['bf16', 'int8'] as const)
          peaks.push(await audited(t, strictest, () => rehearseGeneration({ ...work, dtype }, { device })))
        t.ok(peaks[1] < peaks[0], `${peaks[1]} bytes in 8 bits, ${peaks[0]} in 16`)
      }
  })

// It leaves guidance and tokens out of the last scales, the latter by kernels of its own.
for (const recorded of [false, true])
  t.test(`pictures of 1024² at speed turbo${recorded ? ', recorded' : ''}`, async (t) => {
    const work = { depth: 16, patchNums: publishedScales.get(1024)!, dtype: 'bf16' as const, recorded }
    const peaks: number[] = []
    for (const speed of ['full', 'turbo'] as const)
      for (const images of [1, 8]) {
        const run = () => rehearseGeneration({ ...work, images, settings: { speed } }, { device })
        peaks.push(await audited(t, strictest, run))
      }
    t.ok(peaks[3] < 1.1 * peaks[1], 'it takes no more memory to speak of')
  })

for (const capability of others)
  t.test(`training and pictures on compute capability ${capability / 10}`, async (t) => {
    await audited(t, capability, trainingStep('config_d16_256', 'bf16', { batchSize: 8 }))
    await audited(t, capability, pictures(1024, 1, 'bf16', false, true))
  })
