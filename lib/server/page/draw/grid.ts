/** The prompt matrix: a prompt with {words, to, choose} becomes one row for each of them, with seeds or guidance as columns. */
import type { Drawing } from './api.js'

/** Rows of a grid at most, and pictures of one. */
const mostRows = 24
export const mostCells = 96

/** The prompts that braces stand for: `a {red, blue} {cup, hat}` are four. */
export function expand(prompt: string): string[] {
  const match = /\{([^{}]*)\}/.exec(prompt)
  if (!match) return [prompt]
  const words = match[1].split(',').map((word) => word.trim())
  return words.flatMap((word) =>
    expand(
      `${prompt.slice(0, match.index)}${word}${prompt.slice(match.index + match[0].length)}`
        .replaceAll(/\s+/g, ' ')
        .trim(),
    ),
  )
}

export interface GridPlan {
  columns: string[]
  rows: { title: string /** One request with several pictures, or one a column. */; drawings: Drawing[] }[]
}

/** The values in "0, 1, 2.5". */
export const numbers = (text: string): number[] =>
  text
    .split(/[\s,]+/)
    .filter((word) => word !== '')
    .map(Number)

/** What to draw for a prompt with braces; null for one without. @throws Error where it is too much */
export function planGrid(drawing: Drawing, guidance: readonly number[] | null): GridPlan | null {
  if (!/\{[^{}]*\}/.test(drawing.prompt)) return null
  const prompts = expand(drawing.prompt)
  const width = guidance ? guidance.length : drawing.count
  if (guidance?.some((value) => !Number.isFinite(value)))
    throw new Error('The guidance of the columns is a list of numbers, such as 0, 1, 2.')
  if (prompts.some((prompt) => prompt === '')) throw new Error('One of the prompts would be empty.')
  if (prompts.length > mostRows || prompts.length * width > mostCells)
    throw new Error(
      `That grid has ${prompts.length} × ${width} pictures; at most ${mostRows} rows and ${mostCells} pictures fit.`,
    )
  return {
    columns: guidance
      ? guidance.map((value) => `guidance ${value}`)
      : Array.from({ length: width }, (_, i) => `seed ${drawing.seed + i}`),
    rows: prompts.map((prompt) => ({
      title: prompt,
      drawings: guidance ? guidance.map((cfg) => ({ ...drawing, prompt, cfg, count: 1 })) : [{ ...drawing, prompt }],
    })),
  }
}
