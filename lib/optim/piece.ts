/** Pieces of parameters: where an optimizer is shared out among processes, each steps elements of some parameters only. */
import type { Shape } from '../tensor/index.js'

/** Elements [begin, end) of a parameter, flattened. */
export interface Piece {
  begin: number
  end: number
  /** Shape of the whole parameter. */
  shape: Shape
}

/** A tensor's name in a checkpoint: `name[begin:end]` for a piece. */
export const pieceName = (name: string, piece: Piece | undefined): string =>
  piece ? `${name}[${piece.begin}:${piece.end}]` : name

/** What `pieceName` was given: the name, and the elements where it names a piece. */
export function parsePieceName(text: string): { name: string; begin: number; end: number } | { name: string } {
  const match = /^(.*)\[(\d+):(\d+)\]$/.exec(text)
  return match ? { name: match[1], begin: Number(match[2]), end: Number(match[3]) } : { name: text }
}
