/** Colours that augmentation gives to things and to backgrounds, by the names that captions have. */

/** Names of the hues that things can change between, and the hue of each in degrees. */
export const hues = { red: 2, orange: 27, yellow: 50, green: 125, blue: 216, purple: 272, pink: 325 } as const
export type HueName = keyof typeof hues
export const hueNames = Object.keys(hues) as readonly HueName[]

export const backgrounds = {
  white: [255, 255, 255],
  red: [214, 62, 58],
  orange: [245, 148, 55],
  yellow: [250, 214, 76],
  green: [92, 178, 92],
  blue: [78, 138, 228],
  purple: [150, 94, 206],
  pink: [246, 150, 192],
  gray: [150, 150, 154],
  black: [24, 24, 26],
} as const
export type BackgroundName = keyof typeof backgrounds
export const backgroundNames = Object.keys(backgrounds) as readonly BackgroundName[]
