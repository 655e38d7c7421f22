/** A pack of a few small pictures and run configurations that train on it in seconds. */
import { join } from 'node:path'
import { writePack } from '../../lib/data/index.js'
import { encodePng } from '../../lib/data/png.js'
import { Trainer, type TrainerOptions, type TrainStep } from '../../lib/train/index.js'

const side = 16
const colours: Record<string, [number, number, number]> = {
  red: [220, 30, 30],
  green: [30, 180, 60],
  blue: [40, 60, 220],
  yellow: [240, 220, 40],
  white: [250, 250, 250],
  black: [10, 10, 10],
}

/** Writes one picture a colour and shape (12 in all, two of them held out) and returns the pack's path. */
export async function writeTinyPack(folder: string): Promise<string> {
  const path = join(folder, 'shapes-000000')
  const entries = Object.entries(colours).flatMap(([name, rgb], i) =>
    ['square', 'circle'].map((shape, j) => {
      const pixels = new Uint8Array(side * side * 3).fill(255)
      for (let y = 0; y < side; y++)
        for (let x = 0; x < side; x++) {
          const [dx, dy] = [x - 7.5, y - 7.5]
          const inside = shape === 'square' ? Math.max(Math.abs(dx), Math.abs(dy)) < 5 : dx * dx + dy * dy < 30
          if (inside) pixels.set(rgb, (y * side + x) * 3)
        }
      const id = String(i * 2 + j)
      return {
        key: `shapes-${id}`,
        info: {
          id,
          basename: `${id}.png`,
          prompt: `a ${name} ${shape} on white paper`,
          width: side,
          height: side,
          split: i === 5 ? 'held-out' : 'train',
        },
        image: encodePng({ width: side, height: side, data: pixels }),
      }
    }),
  )
  await writePack(path, entries)
  return path
}

const optimizer = { batchSize: 4, learningRate: 2e-3, warmupSteps: 2, ema: 0.9 }

export const tinyTokenizerRun = (runFolder: string, pack: string, steps: number): Record<string, unknown> => ({
  kind: 'tokenizer',
  runFolder,
  seed: 3,
  data: { packs: [pack], resolution: side, flip: 0.5 },
  optimizer: { ...optimizer, steps },
  work: { logEvery: 1, saveEvery: 100 },
  model: {
    baseChannels: 32,
    channelMultipliers: [1, 1],
    residualBlocks: 1,
    levelAttention: false,
    vocabSize: 32,
    latentChannels: 8,
    patchNums: [1, 2, 4, 8],
  },
  reviveEvery: 2,
})

export const tinyTransformerRun = (
  runFolder: string,
  pack: string,
  tokenizer: string,
  steps: number,
): Record<string, unknown> => ({
  kind: 'transformer',
  name: 'tiny',
  runFolder,
  seed: 3,
  data: { packs: [pack], resolution: side },
  tokenizer,
  optimizer: { ...optimizer, steps },
  work: { logEvery: 1, saveEvery: 100 },
  model: { depth: 2, width: 64, heads: 2, dropPath: 0.1 },
  textDropout: 0.3,
})

export const tinySamplerRun = (
  runFolder: string,
  pack: string,
  base: string,
  steps: number,
): Record<string, unknown> => ({
  kind: 'sampler',
  name: 'tiny-sampler',
  runFolder,
  seed: 3,
  data: { packs: [pack], resolution: side },
  base,
  stableFrom: 2,
  optimizer: { ...optimizer, steps },
  work: { logEvery: 1, saveEvery: 100 },
  textDropout: 0.3,
})

export const tinyLoraRun = (runFolder: string, pack: string, base: string, steps: number): Record<string, unknown> => ({
  kind: 'lora',
  name: 'tiny-lora',
  runFolder,
  seed: 3,
  data: { packs: [pack], resolution: side },
  base,
  rank: 4,
  optimizer: { ...optimizer, learningRate: 1e-2, weightDecay: 0, steps },
  work: { logEvery: 1, saveEvery: 100, picturesEvery: 20 },
  textDropout: 0.3,
})

/** Runs a training to its end, or aborts it after `stopAfter` steps. */
export async function runSteps(
  config: object,
  stopAfter = Number.POSITIVE_INFINITY,
  options: TrainerOptions = {},
): Promise<TrainStep[]> {
  const abort = new AbortController()
  using trainer = await Trainer.open(config, { ...options, signal: abort.signal })
  const steps: TrainStep[] = []
  for await (const step of trainer) {
    steps.push(step)
    if (steps.length === stopAfter) abort.abort()
  }
  return steps
}
