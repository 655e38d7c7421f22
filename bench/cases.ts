/** What is measured: a small model as the shipped ones are, and the published 256² model. */

interface ModelShape {
  depth: number
  width: number
  patchNums: number[]
  vocabSize: number
  latentChannels: number
  textWidth: number
  textTokens: number
  /** Channels of the decoder's finest level, and the multiple of them that each level has. */
  baseChannels: number
  channelMultipliers: number[]
}

export type CaseKind = 'forward' | 'train' | 'generate'

export interface BenchCase extends ModelShape {
  name: string
  kind: CaseKind
  batch: number
  /** Real tokens of each prompt of the batch [prompts…, ""…]. */
  textLengths: number[]
  sampling?: { cfg: number; topK: number; topP: number }
}

const small: ModelShape = {
  depth: 6,
  width: 384,
  patchNums: [1, 2, 3, 4, 6, 8],
  vocabSize: 4096,
  latentChannels: 32,
  textWidth: 384,
  textTokens: 64,
  baseChannels: 32,
  channelMultipliers: [1, 1, 2, 4],
}

const published: ModelShape = {
  depth: 16,
  width: 1024,
  patchNums: [1, 2, 3, 4, 5, 6, 8, 10, 13, 16],
  vocabSize: 4096,
  latentChannels: 32,
  textWidth: 1024,
  textTokens: 77,
  baseChannels: 160,
  channelMultipliers: [1, 1, 2, 2, 4],
}

function cases(title: string, shape: ModelShape, batch: number): BenchCase[] {
  const lengths = Array.from({ length: batch }, (_, i) => shape.textTokens - ((7 * i) % (shape.textTokens - 2)))
  const sampling = { cfg: 4, topK: 600, topP: 0.8 }
  return [
    { ...shape, name: `${title}.forward`, kind: 'forward', batch, textLengths: lengths },
    { ...shape, name: `${title}.train`, kind: 'train', batch, textLengths: lengths },
    { ...shape, name: `${title}.generate`, kind: 'generate', batch: 1, textLengths: [20, 2], sampling },
  ]
}

export const benchCases: readonly BenchCase[] = [...cases('d6-384', small, 32), ...cases('d16-256', published, 1)]
