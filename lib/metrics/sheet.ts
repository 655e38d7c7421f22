/** The contact sheet of an evaluation: captions with their own pictures and four drawn ones. */
import { drawSheet, encodePng } from '../data/index.js'

export interface SheetRow {
  caption: string
  /** side²·3 bytes. */
  own: Uint8Array
  /** Drawn with one seed after another. */
  pictures: readonly Uint8Array[]
}

/** PNG of two captions in a row, each with its own picture first. */
export function contactSheet(rows: readonly SheetRow[], side: number): Promise<Buffer> {
  const tiles = rows.flatMap(({ caption, own, pictures }) => [
    { data: own, caption },
    ...pictures.map((data, i) => ({ data, caption: `drawn ${i + 1}` })),
  ])
  return drawSheet(
    tiles.map(({ data, caption }) => ({ image: encodePng({ width: side, height: side, data }), caption })),
    10,
  )
}
