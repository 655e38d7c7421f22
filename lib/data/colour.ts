/** Names of colours as one would call them, and the colour that a picture on white mostly has. */

export const colourNames = ['red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'brown'] as const
export type ColourName = (typeof colourNames)[number]

/** What one calls the colour of a pixel (0 to 255 each); null for white, greys, black, and what lies between two names. */
export function colourName(r: number, g: number, b: number): ColourName | null {
  const high = Math.max(r, g, b)
  const low = Math.min(r, g, b)
  const chroma = high - low
  if (chroma < 40) return null
  const lightness = (high + low) / 510
  let hue = 0
  if (high === r) hue = ((g - b) / chroma + 6) % 6
  else if (high === g) hue = (b - r) / chroma + 2
  else hue = (r - g) / chroma + 4
  hue *= 60
  if (hue < 14 || hue >= (lightness < 0.6 ? 338 : 346)) {
    if (lightness > 0.72) return 'pink'
    return lightness < 0.27 ? 'brown' : 'red'
  }
  // Skin, sand, salmon and caramel have no name that everybody would give them.
  if (hue < 34) {
    if (lightness < 0.4) return 'brown'
    return chroma > 150 && lightness < 0.68 ? 'orange' : null
  }
  if (hue < 66) return chroma > 100 && lightness > 0.42 ? 'yellow' : null
  if (hue < 162) return 'green'
  if (hue < 188) return null
  if (hue < 252) return 'blue'
  if (hue < 294) return 'purple'
  return 'pink'
}

export interface MainColour {
  name: ColourName
  /** Part of what is drawn that has this colour. */
  share: number
  /** Part of what is drawn that has the colour next in size. */
  next: number
}

/**
 * The colour that most of what is drawn on white has; null where nothing coloured is drawn.
 * @param rgb three bytes a pixel
 */
export function mainColour(rgb: Uint8Array): MainColour | null {
  const counts = new Map<ColourName, number>()
  let drawn = 0
  for (let i = 0; i < rgb.length; i += 3) {
    if (Math.min(rgb[i], rgb[i + 1], rgb[i + 2]) > 240) continue
    drawn++
    const name = colourName(rgb[i], rgb[i + 1], rgb[i + 2])
    if (name) counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  const [first, second] = [...counts].sort((a, b) => b[1] - a[1])
  return first ? { name: first[0], share: first[1] / drawn, next: (second?.[1] ?? 0) / drawn } : null
}
