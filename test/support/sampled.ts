/** What a generation draws, read back. */
import { type GenerateOptions, generate, type ScaleEvent } from '../../lib/sampling/index.js'

/** The tokens of each scale, none where it is a soft mix, and the final f̂, each flat. */
export async function sample(options: GenerateOptions): Promise<{ tokens: number[][]; fHat: number[] }> {
  const tokens: number[][] = []
  const onScale = ({ tokens: drawn }: ScaleEvent): void => void tokens.push([...(drawn?.ints() ?? [])])
  using fHat = await generate({ ...options, onScale })
  return { tokens, fHat: [...fHat.floats()] }
}
