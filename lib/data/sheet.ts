/** A sheet of pictures with their captions, to look at. */
import sharp from 'sharp'

const side = 112
const gap = 6
const lineHeight = 13
const lines = 2

export interface CaptionedPicture {
  /** An encoded picture. */
  image: Uint8Array
  caption: string
}

const escaped = (text: string) =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!)

/** Breaks a caption into lines of so many characters. */
function wrapped(caption: string): string[] {
  const result = ['']
  for (const word of caption.split(' ')) {
    const last = result[result.length - 1]
    if (last && last.length + word.length >= side / 5.6) result.push(word)
    else result[result.length - 1] = last ? `${last} ${word}` : word
  }
  return result.slice(0, lines)
}

/** PNG of pictures in rows, each 112 pixels wide with two lines of its caption below it, on white. */
export async function drawSheet(pictures: readonly CaptionedPicture[], columns: number): Promise<Buffer> {
  const cell = { width: side + gap, height: side + lines * lineHeight + gap }
  const width = columns * cell.width + gap
  const height = Math.ceil(pictures.length / columns) * cell.height + gap
  const place = (i: number) => ({
    left: gap + (i % columns) * cell.width,
    top: gap + Math.floor(i / columns) * cell.height,
  })
  const text = pictures.flatMap(({ caption }, i) =>
    wrapped(caption).map((line, row) => {
      const { left, top } = place(i)
      return `<text x="${left + side / 2}" y="${top + side + (row + 1) * lineHeight - 3}">${escaped(line)}</text>`
    }),
  )
  const captions = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="10" text-anchor="middle">${text.join('')}</svg>`
  const tiles = await Promise.all(
    pictures.map(async ({ image }, i) => ({
      input: await sharp(image).resize(side, side).png().toBuffer(),
      ...place(i),
    })),
  )
  return sharp({ create: { width, height, channels: 3, background: '#ffffff' } })
    .composite([...tiles, { input: Buffer.from(captions), left: 0, top: 0 }])
    .png()
    .toBuffer()
}
