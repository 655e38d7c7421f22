/** The two configurations as text, with comments for who has never written one. */
import type { Estimates } from './measure.js'
import { tokenizerModel, transformerModel } from './measure.js'
import type { Filtering, Sizes } from './sizes.js'

export interface FileFacts {
  /** Folder of the trainings. */
  folder: string
  /** Folder of the packs. */
  packs: string
  /** Name of the model. */
  name: string
  /** Pictures to train on. */
  count: number
  /** Shown while training. */
  prompts: readonly string[]
  sizes: Sizes
  filtering: Filtering
  estimates: Estimates
  /** What was measured. */
  machine: string
}

const json = (value: unknown): string => JSON.stringify(value)
/** One line of JSON with spaces, as people write it. */
const inline = (value: unknown): string =>
  JSON.stringify(value, null, 1).replaceAll(/\n\s*/g, ' ').replaceAll(/\[ /g, '[').replaceAll(/ \]/g, ']')

/** `4 min`, `2.5 h`. */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds / 10)) * 10} s`
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`
  return `${(seconds / 3600).toFixed(1)} h`
}

export const amount = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`

function head(facts: FileFacts, what: string, kind: 'tokenizer' | 'transformer', command: string): string {
  const { seconds, bytes } = facts.estimates[kind]
  return `// ${what}
// Written by "star init" for ${facts.count} pictures. On ${facts.machine} it was expected to take ${duration(seconds)}
// and ${amount(bytes)} of memory, measured with what else the machine did then.
//
// Run it from the folder that the paths below start from:
//   star ${command} ${facts.folder}/${kind}.json
// Ctrl-C saves; the same command resumes. docs/configuration.md of star-t2i lists all keys.`
}

function dataOf({ packs, sizes, filtering }: FileFacts): string {
  const { minSide, captionLength } = filtering.filters
  const filters = [
    ...(minSide === false
      ? ['      // Many pictures are smaller than that: they are enlarged.', '      "minSide": false']
      : []),
    ...(captionLength
      ? ['      // Captions of up to three letters count too.', `      "captionLength": ${inline(captionLength)}`]
      : []),
  ]
  // A comma between the keys, not behind the comments.
  const text = filters.join('\n').replace('"minSide": false\n', '"minSide": false,\n')
  return `  "data": {
    "packs": ${inline([packs])},
    // Pictures are cropped to the square in their middle and resized to this many pixels a side.
    "resolution": ${sizes.side}${text ? `,\n    "filters": {\n${text}\n    }` : ''}
  }`
}

/** tokenizer.json */
export function tokenizerText(facts: FileFacts): string {
  const { folder, sizes, estimates } = facts
  const { batchSize, steps } = sizes.tokenizer
  const { accumulate } = estimates.tokenizer
  const model = tokenizerModel(sizes)
  return `${head(facts, 'The tokenizer: it learns to turn pictures into tokens and back. Train it first.', 'tokenizer', 'train-tokenizer')}
{
  "kind": "tokenizer",
  "runFolder": ${json(`${folder}/tokenizer`)},
  "seed": 1,
${dataOf(facts)},
  "model": {
    // More channels draw finer detail, and take more time.
    "baseChannels": ${model.baseChannels},
    "channelMultipliers": ${inline(model.channelMultipliers)},
    "residualBlocks": ${model.residualBlocks},
    "levelAttention": ${model.levelAttention},
    // Different tokens there are, and numbers that each stands for.
    "vocabSize": ${model.vocabSize},
    "latentChannels": ${model.latentChannels},
    // A picture is drawn as token maps of these sides, coarse to fine.
    "patchNums": ${inline(model.patchNums)}
  },
  "loss": { "l2": 3, "quantizer": 0.15 },
  "optimizer": {
    "batchSize": ${batchSize},${accumulateLine(accumulate)}
    // More steps give sharper pictures; the time grows with them.
    "steps": ${steps},
    "learningRate": 0.0015,
    "warmupSteps": ${Math.min(100, Math.ceil(steps / 40))},
    "betas": [0.9, 0.99],
    "weightDecay": 0.01,
    "ema": 0.995
  },
  "work": {
    "logEvery": 20,
    "saveEvery": 250,
    // Held-out pictures, as they are and as the tokenizer gives them back, go to val_imgs/.
    "validateEvery": ${Math.ceil(steps / 8)},
    "picturesEvery": ${Math.ceil(steps / 8)}
  }
}
`
}

const accumulateLine = (accumulate: number): string =>
  accumulate === 1
    ? ''
    : `\n    // A batch is cut into so many parts, so that a part fits into memory.\n    "accumulate": ${accumulate},`

/** transformer.json */
export function transformerText(facts: FileFacts): string {
  const { folder, name, prompts, sizes, estimates } = facts
  const { batchSize, steps } = sizes.transformer
  const { precision, accumulate } = estimates.transformer
  const model = transformerModel(sizes)
  return `${head(facts, 'The transformer: it learns to write the tokens of a picture for a prompt.', 'transformer', 'train')}
{
  "kind": "transformer",
  "name": ${json(name)},
  "runFolder": ${json(`${folder}/transformer`)},
  "seed": 1,
${dataOf(facts)},
  // What tokenizer.json trains.
  "tokenizer": ${json(`${folder}/tokenizer/model`)},
  // A larger model tells more pictures apart, and takes more time.
  "model": ${inline(model)},
  "textDropout": 0.1,
  "scaleWeights": "side",
  // ${precision === 'bf16' ? 'Faster than f32 on this machine.' : 'bf16 was not faster on this machine; it takes half of the memory.'}
  "precision": ${json(precision)},
  "optimizer": {
    "batchSize": ${batchSize},${accumulateLine(accumulate)}
    "steps": ${steps},
    "learningRate": ${learningRate(sizes.width)},
    "warmupSteps": ${Math.min(500, Math.ceil(steps / 20))},
    "weightDecay": 0.05,
    "ema": ${steps < 2000 ? 0.98 : 0.998}
  },
  "work": {
    "logEvery": 20,
    "saveEvery": 250,
    "validateEvery": ${Math.ceil(steps / 8)},
    // Pictures of these prompts go to val_imgs/ so often.
    "picturesEvery": ${Math.ceil(steps / 8)},
    "prompts": ${inline(prompts)}
  },
  // How the model is drawn from where a caller says nothing else.
  "sampling": { "cfg": 1, "topK": 5, "topP": 0.3 }
}
`
}

/** Narrow models take larger steps. */
const learningRate = (width: number): number => (width <= 192 ? 0.002 : width <= 384 ? 0.001 : 0.0003)
