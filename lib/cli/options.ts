/** Parsers of option values; each names the option, what was given and what is expected. */

import { StarError } from '../native/error.js'
import type { PictureSize } from '../sampling/index.js'

type Parser = (text: string) => number

function parse(option: string, text: string, expected: string, accept: (value: number) => boolean): number {
  const value = text.trim() === '' ? Number.NaN : Number(text)
  if (!Number.isFinite(value) || !accept(value))
    throw new StarError('ERR_ARGUMENT', `${option} is "${text}", expected ${expected}`)
  return value
}

/** A whole number from `low` to `high`. */
export function wholeNumber(option: string, low: number, high = Number.MAX_SAFE_INTEGER): Parser {
  const expected =
    high === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${low}` : `a whole number from ${low} to ${high}`
  return (text) =>
    parse(option, text, expected, (value) => Number.isSafeInteger(value) && value >= low && value <= high)
}

/** A number from `low` to `high`. */
export function number(option: string, low: number, high = Number.POSITIVE_INFINITY): Parser {
  const expected = high === Number.POSITIVE_INFINITY ? `a number of at least ${low}` : `a number from ${low} to ${high}`
  return (text) => parse(option, text, expected, (value) => value >= low && value <= high)
}

/** Width and height in pixels, as WIDTHxHEIGHT. */
export function sizeOption(option: string): (text: string) => PictureSize {
  return (text) => {
    const parts = /^(\d{1,5})[x×](\d{1,5})$/i.exec(text.trim())
    const [width, height] = parts ? [Number(parts[1]), Number(parts[2])] : [0, 0]
    if (width === 0 || height === 0)
      throw new StarError('ERR_ARGUMENT', `${option} is "${text}", expected WIDTHxHEIGHT in pixels such as 96x64`)
    return { width, height }
  }
}

/** Parses a list of indices. */
export const indexList =
  (name: string) =>
  (text: string): number[] => {
    const parts = text.split(',').map((part) => part.trim())
    if (!parts.every((part) => /^\d{1,6}$/.test(part)))
      throw new StarError('ERR_ARGUMENT', `${name} is "${text}", expected indices such as 4,5`)
    return parts.map(Number)
  }
