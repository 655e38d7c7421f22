/**
 * The emoji data set: pictures of Fluent Emoji 3D (npm @lobehub/fluent-emoji-3d) with captions from Unicode's names and
 * keywords (npm emojibase-data), as a pack. Small enough to train on a CPU, and free to use (both MIT).
 */
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { StarError } from '../native/index.js'
import { isInShare, normalizedHexcode, packageFolder } from './names.js'
import { type ImageInfo, type PackEntry, writePacks } from './pack.js'

export interface EmojiOptions {
  /** Side of the packed images; the sources are 256 pixels wide. */
  size?: number
  onProgress?: (done: number, total: number) => void
  signal?: AbortSignal
}

/** One emoji with its picture. */
export interface EmojiEntry {
  /** Code points in lower case hexadecimal, as emojibase names them. */
  hexcode: string
  emoji: string
  label: string
  /** Label of the emoji without skin tone and hair. */
  base: string
  tags: string[]
  group: string
  split: 'train' | 'held-out'
  file: string
}

interface EmojiRecord {
  hexcode: string
  emoji: string
  label: string
  tags?: string[]
  group?: number
  skins?: EmojiRecord[]
}

const heldOutShare = 0.05

/** Whether an emoji of this base name is held out: a fixed 5 % of names, so that variants in skin tone stay together. */
export function isHeldOut(base: string): boolean {
  return isInShare(base, heldOutShare)
}

/** The emoji that have both a name and a picture, in emojibase's order. @throws ERR_FILE when a package is missing */
export function listEmoji(): EmojiEntry[] {
  const assets = join(packageFolder('@lobehub/fluent-emoji-3d', 'the emoji data set'), 'assets')
  const names = join(packageFolder('emojibase-data', 'the emoji data set'), 'en')
  const read = (name: string): unknown => JSON.parse(readFileSync(join(names, name), 'utf8'))
  const records = read('data.json') as EmojiRecord[]
  const { groups } = read('messages.json') as { groups: { message: string; order: number }[] }
  const files = new Map<string, string>()
  for (const file of readdirSync(assets).sort()) {
    const match = /^(.+)\.(webp|png)$/.exec(file)
    if (match) files.set(normalizedHexcode(match[1]), join(assets, file))
  }
  const entries: EmojiEntry[] = []
  const add = (record: EmojiRecord, parent: EmojiRecord) => {
    const file = files.get(normalizedHexcode(record.hexcode))
    if (!file) return
    entries.push({
      hexcode: record.hexcode.toLowerCase(),
      emoji: record.emoji,
      label: record.label,
      base: parent.label,
      tags: record.tags ?? parent.tags ?? [],
      group: groups.find((g) => g.order === (record.group ?? parent.group))?.message ?? '',
      split: isHeldOut(parent.label) ? 'held-out' : 'train',
      file,
    })
  }
  for (const record of records) {
    add(record, record)
    for (const skin of record.skins ?? []) add(skin, record)
  }
  return entries
}

const withArticle = (phrase: string) =>
  /^(the|a|an|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve) /i.test(phrase) ||
  /^[^a-z]*$/i.test(phrase)
    ? phrase
    : `${/^[aeiou]/i.test(phrase) && !/^(u[ns]i|eu|one)/i.test(phrase) ? 'an' : 'a'} ${phrase}`

/**
 * A label as one would say it: "red apple" → "a red apple", "flag: Ghana" → "the flag of Ghana",
 * "man: dark skin tone, red hair" → "a man with dark skin tone and red hair".
 */
export function captionOf(label: string): string {
  const colon = label.indexOf(': ')
  if (colon < 0) return withArticle(label)
  const head = label.slice(0, colon)
  const rest = label.slice(colon + 2)
  if (head === 'flag') return `the flag of ${rest}`
  if (head === 'keycap') return `a keycap with ${rest}`
  const details = rest.split(', ')
  const looks = details.filter((d) => / (tone|hair)$|^(beard|bald)$/.test(d))
  const others = details.filter((d) => !looks.includes(d))
  const subject = [withArticle(head), ...others].join(', ')
  return looks.length > 0 ? `${subject} with ${looks.join(' and ')}` : subject
}

/** Captions under different keys: the training takes one of them at random. */
export function emojiCaptions(entry: EmojiEntry): { prompt: string; [caption: `caption_${string}`]: string } {
  const prompt = captionOf(entry.label)
  const tags = entry.tags.filter((tag) => tag !== entry.label)
  return {
    prompt,
    caption_label: entry.label,
    caption_style: `a 3D emoji of ${prompt}`,
    ...(tags.length > 0 ? { caption_tags: `${entry.label}, ${tags.slice(0, 8).join(', ')}` } : {}),
    ...(entry.group ? { caption_group: `${prompt}, ${entry.group}` } : {}),
  }
}

async function render(entry: EmojiEntry, size: number): Promise<PackEntry> {
  let image: Buffer
  try {
    image = await sharp(entry.file)
      .flatten({ background: '#ffffff' })
      .resize(size, size, { kernel: 'lanczos3' })
      .toColourspace('srgb')
      .png({ compressionLevel: 6 })
      .toBuffer()
  } catch (error) {
    throw new StarError(
      'ERR_FILE',
      `${entry.file} is not a readable image (${(error as Error).message}): install @lobehub/fluent-emoji-3d again`,
    )
  }
  const info: ImageInfo = {
    id: entry.hexcode,
    basename: `${entry.hexcode}.png`,
    ...emojiCaptions(entry),
    width: size,
    height: size,
    emoji: entry.emoji,
    label: entry.label,
    group: entry.group,
    split: entry.split,
  }
  return { key: `emoji-${entry.hexcode}`, info, image }
}

/**
 * Builds the pack `emoji-000000` in a folder: pictures flattened on white, captions, and a fixed 5 % of names marked
 * `split: 'held-out'`.
 * @returns the paths of the packs (one), how many images there are and how many of them are held out
 * @throws ERR_FILE when a package is missing or the folder cannot be written; ERR_ABORTED through `signal`, leaving nothing
 */
export async function buildEmojiPack(
  folder: string,
  options: EmojiOptions = {},
): Promise<{ paths: string[]; count: number; heldOut: number }> {
  const { size = 128, onProgress, signal } = options
  if (!Number.isInteger(size) || size < 8 || size > 1024)
    throw new StarError('ERR_ARGUMENT', `buildEmojiPack: size is ${size}, expected a whole number from 8 to 1024`)
  const entries = listEmoji()
  async function* packed(): AsyncGenerator<PackEntry> {
    // A few pictures are decoded ahead of the one being written.
    const ahead = Math.max(2, availableParallelism())
    const queue: Promise<PackEntry>[] = []
    try {
      for (let i = 0, started = 0; i < entries.length; i++) {
        if (signal?.aborted)
          throw new StarError(
            'ERR_ABORTED',
            'buildEmojiPack: stopped before the pack was complete; nothing was written',
            { cause: signal.reason },
          )
        while (started < entries.length && queue.length < ahead) queue.push(render(entries[started++], size))
        yield await queue.shift()!
        onProgress?.(i + 1, entries.length)
      }
    } finally {
      await Promise.allSettled(queue)
    }
  }
  const { paths, count } = await writePacks(folder, 'emoji', packed())
  return { paths, count, heldOut: entries.filter((e) => e.split === 'held-out').length }
}
