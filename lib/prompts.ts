/** Prompts as callers give them: a text, several with weights in one text, or a list of them. */
import { shown } from './config/parse-config.js'
import { StarError } from './native/index.js'

/** Longest prompt that is taken, in characters. The text encoder reads its first tokens only. */
export const maxPromptLength = 4096

/** One of several prompts of a picture. */
export interface WeightedPrompt {
  /** What it is to show. */
  prompt: string
  /** From 0; what counts is its share of the sum. */
  weight: number
}

/**
 * What a picture shows: a text such as `a red apple`; several with weights in one text, `a cat:1.2 and a dog:0.8`; or a list of these.
 * A colon behind a digit, as in 12:30, begins no weight.
 */
export type Prompt = string | readonly WeightedPrompt[]

/** A prompt that was read. */
export interface ReadPrompt {
  /** As one text, which reads as the same prompt. */
  text: string
  /** What it stands for, where that is several with weights. */
  parts?: readonly WeightedPrompt[]
}

const example = 'write several prompts of a picture as "a cat:1.2 and a dog:0.8"'
const digits = String.raw`[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?`
/** A weight with "and" behind it, and one at the end. */
const inner = new RegExp(String.raw`(?<!\d):\s*(${digits})\s+and\s+`, 'i')
const last = new RegExp(String.raw`(?<!\d):\s*(${digits})\s*$`, 'i')
/** Something in the place of such weights. */
const innerWord = /(?<!\d):\s*(\S+)\s+and\s/i
const lastWord = /^(.*)(?<!\d):\s*(\S*)\s*$/is

/** @throws ERR_ARGUMENT when it is no text, empty or too long */
function checkText(prompt: unknown): asserts prompt is string {
  if (typeof prompt !== 'string')
    throw new StarError(
      'ERR_ARGUMENT',
      `a prompt is ${shown(prompt)}, expected a text: describe the picture in some words, such as "a red apple"`,
    )
  if (prompt.trim() === '')
    throw new StarError(
      'ERR_ARGUMENT',
      'the prompt is empty: describe the picture in some words, such as "a red apple"',
    )
  if (prompt.length > maxPromptLength)
    throw new StarError(
      'ERR_ARGUMENT',
      `the prompt has ${prompt.length} characters, at most ${maxPromptLength} are taken: shorten it ("${prompt.slice(0, 40)}…")`,
    )
}

const noNumber = (prompt: string, weight: unknown): StarError =>
  new StarError(
    'ERR_ARGUMENT',
    `the weight of the prompt "${prompt.trim().slice(0, 40)}" is ${shown(weight)}, expected a number from 0: ${example}`,
  )

/** The parts of a text with weights; null of any other text. @throws ERR_ARGUMENT where some of the weights are none */
function partsOf(text: string): WeightedPrompt[] | null {
  if (!inner.test(text) && !(innerWord.test(text) && last.test(text))) return null
  const pieces = text.split(inner)
  const parts: WeightedPrompt[] = []
  for (let i = 0; i + 1 < pieces.length; i += 2) parts.push({ prompt: pieces[i], weight: Number(pieces[i + 1]) })
  const end = lastWord.exec(pieces[pieces.length - 1])
  if (!end)
    throw new StarError(
      'ERR_ARGUMENT',
      `the prompt "${pieces[pieces.length - 1].trim().slice(0, 40)}" has no weight, and others before it have: ${example}`,
    )
  const weight = last.exec(pieces[pieces.length - 1])
  if (!weight) throw noNumber(end[1], end[2])
  parts.push({ prompt: end[1], weight: Number(end[2]) })
  for (const { prompt } of parts) {
    const wrong = innerWord.exec(`${prompt} `)
    if (wrong) throw noNumber(prompt.slice(0, wrong.index), wrong[1])
  }
  return parts.map(({ prompt, weight }) => ({ prompt: prompt.trim(), weight }))
}

/** @throws ERR_ARGUMENT for weights that are no numbers from 0, or all 0 */
function checkWeights(parts: readonly WeightedPrompt[]): void {
  for (const { prompt, weight } of parts) {
    checkText(prompt)
    if (typeof weight !== 'number' || !Number.isFinite(weight) || weight < 0) throw noNumber(prompt, weight)
  }
  if (parts.every(({ weight }) => weight === 0))
    throw new StarError('ERR_ARGUMENT', `all prompts of a picture have the weight 0: ${example}`)
}

/** A list of prompts of one picture, as one text. */
const textOf = (parts: readonly WeightedPrompt[]): string =>
  parts.map(({ prompt, weight }) => `${prompt.trim()}${/\d$/.test(prompt.trim()) ? ' ' : ''}:${weight}`).join(' and ')

const isPart = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && ('prompt' in value || 'weight' in value)

/** Whether a list is one prompt. */
const isWeighted = (value: unknown): value is readonly WeightedPrompt[] =>
  Array.isArray(value) && value.length > 0 && value.every(isPart)

/** @throws ERR_ARGUMENT when it is no prompt, empty or too long, or has weights that are none */
export function readPrompt(prompt: unknown): ReadPrompt {
  if (!isWeighted(prompt)) {
    checkText(prompt)
    const parts = partsOf(prompt)
    if (parts) checkWeights(parts)
    return parts ? { text: prompt, parts } : { text: prompt }
  }
  checkWeights(prompt)
  if (prompt.length === 1) return readPrompt(prompt[0].prompt)
  const text = textOf(prompt)
  for (const part of prompt)
    if (inner.test(part.prompt))
      throw new StarError(
        'ERR_ARGUMENT',
        `the prompt "${part.prompt.slice(0, 40)}" has weights inside, and is one of a list: give its parts in the list`,
      )
  return { text, parts: prompt.map(({ prompt, weight }) => ({ prompt: prompt.trim(), weight })) }
}

/** The prompts as a list. @throws ERR_ARGUMENT when there is none, and as `readPrompt` */
export function readPrompts(prompts: unknown): ReadPrompt[] {
  const list: unknown[] = Array.isArray(prompts) && !isWeighted(prompts) ? prompts : [prompts]
  if (list.length === 0) throw new StarError('ERR_ARGUMENT', 'no prompt was given: pass at least one')
  return list.map(readPrompt)
}

/** A prompt between two others: the first at 0, the second at 1. */
export function between(first: ReadPrompt, second: ReadPrompt, at: number): ReadPrompt {
  if (at === 0) return first
  if (at === 1) return second
  const scaled = ({ text, parts = [{ prompt: text, weight: 1 }] }: ReadPrompt, share: number): WeightedPrompt[] => {
    const sum = parts.reduce((total, { weight }) => total + weight, 0)
    return parts.map(({ prompt, weight }) => ({ prompt, weight: Number(((weight / sum) * share).toFixed(6)) }))
  }
  const parts = [...scaled(first, 1 - at), ...scaled(second, at)]
  return { text: textOf(parts), parts }
}
