/** Data sets: packs, info files, pictures and the texts of PNG files. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { csvRows } from '../../../lib/data/csv.js'
import { ImageCaptionDataset, openPack, packImages } from '../../../lib/data/index.js'
import { encodePng, readPngText } from '../../../lib/data/png.js'
import { preprocessImage } from '../../../lib/data/preprocess.js'
import { numberedTar } from '../../support/tiny-images.js'
import type { FuzzTarget } from '../target.js'

/** The path of a sound pack. */
async function soundPack(scratch: string): Promise<string> {
  const tar = join(scratch, 'a.tar')
  await numberedTar(tar, 4, 0, 8)
  await packImages([tar], { dataset: 'n', out: join(scratch, 'packs') })
  return join(scratch, 'packs', 'n-000000')
}

async function inTemporary<T>(make: (scratch: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'star-fuzz-seed-'))
  try {
    return await make(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export const pack: FuzzTarget = {
  name: 'pack',
  sources: ['lib/data/pack.js', 'lib/data/pickle.js', 'lib/pickle/unpickle.js'],
  seeds: () => inTemporary(async (scratch) => [readFileSync(await soundPack(scratch))]),
  open: async (scratch) => {
    const path = await soundPack(scratch)
    const file = join(scratch, 'n-000000')
    copyFileSync(`${path}-info.json`, `${file}-info.json`)
    return {
      run: (input) => {
        writeFileSync(file, input)
        using opened = openPack(file)
        for (const key of opened.keys.slice(0, 8)) opened.image(key)
        return `read ${opened.keys.length}`
      },
    }
  },
}

export const packInfo: FuzzTarget = {
  name: 'pack-info',
  sources: ['lib/data/pack.js', 'lib/data/dataset.js', 'lib/data/filters.js', 'lib/data/captions.js'],
  pieces: [
    '"prompt"',
    '"width"',
    '"height"',
    '"pwatermark"',
    '"punsafe"',
    '"language"',
    '"split":"held-out"',
    '"basename"',
  ],
  seeds: () => inTemporary(async (scratch) => [readFileSync(`${await soundPack(scratch)}-info.json`)]),
  open: async (scratch) => {
    const path = await soundPack(scratch)
    const file = join(scratch, 'n-000000')
    copyFileSync(path, file)
    return {
      run: async (input) => {
        writeFileSync(`${file}-info.json`, input)
        const dataset = await ImageCaptionDataset.open(file, { resolution: 8 })
        const { length } = dataset
        dataset.close()
        return `read ${length > 0}`
      },
    }
  },
}

export const image: FuzzTarget = {
  name: 'image',
  sources: ['lib/data/preprocess.js'],
  pieces: [
    '\x89PNG\r\n\x1a\n',
    'IHDR',
    'IDAT',
    'IEND',
    '\xff\xd8\xff',
    '\xff\xc0',
    '\xff\xda',
    'GIF89a',
    'WEBP',
    'VP8L',
    'II*\0',
  ],
  seeds: async () => {
    const raw = { width: 9, height: 7, channels: 3 as const }
    const pixels = Uint8Array.from({ length: 9 * 7 * 3 }, (_, i) => (i * 37) % 256)
    const picture = () => sharp(pixels, { raw })
    const formats = ['png', 'jpeg', 'webp', 'gif', 'tiff', 'avif'] as const
    return [
      ...(await Promise.all(formats.map((format) => picture().toFormat(format).toBuffer()))),
      await picture().jpeg({ progressive: true }).toBuffer(),
      await picture().png({ palette: true }).toBuffer(),
    ]
  },
  open: () => ({
    run: async (input) => {
      await preprocessImage(input, 8)
      return 'read'
    },
  }),
}

export const pngText: FuzzTarget = {
  name: 'png-text',
  sources: ['lib/data/png.js'],
  pieces: ['tEXt', 'iTXt', 'zTXt', 'IEND', '\0\0\0\0'],
  seeds: () => [
    encodePng({ width: 1, height: 1, data: new Uint8Array(3), text: { prompt: 'a red apple', Software: 'é' } }),
  ],
  open: () => ({ run: (input) => `read ${Math.min(4, Object.keys(readPngText(input)).length)}` }),
}

export const csv: FuzzTarget = {
  name: 'csv',
  sources: ['lib/data/csv.js'],
  pieces: ['"', '""', ',', '\n', '\r'],
  seeds: () => [Buffer.from('file,caption\na.png,"a ""red"" apple"\r\nb.png,x\n')],
  open: () => ({
    run: (input) => `rows ${Math.min(5, [...csvRows(input.toString('utf8'))].length)}`,
  }),
}
