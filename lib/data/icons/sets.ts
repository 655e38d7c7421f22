/** The sets of pictograms that `star data icons` draws from, the words that name their styles, and their licences. */

export interface IconSet {
  /** Name of the set in keys, files and reports. */
  id: string
  /** npm package; null for a folder that the caller names. */
  package: string | null
  /** `files`: one picture a file, named by code points; `iconify`: SVG bodies by name in icons.json; `folder`: of drawings. */
  kind: 'files' | 'iconify' | 'folder'
  /** Words of the style in captions: "a red apple, flat icon". */
  style: string
  /** The style in front of the thing: "a flat icon of a red apple". */
  phrase: string
  /** Whether its pictures of men and women are taken beside the person whose gender is open. */
  genders: boolean
  /** Whether the skin tones of hands and people are taken. */
  tones: boolean
  title: string
  author: string
  source: string
  license: string
}

const iconify = (name: string) => ({ package: `@iconify-json/${name}`, kind: 'iconify' as const, tones: false })

/**
 * In the order in which they are packed; of two nearly equal pictures of a thing the first stays. (Fluent Emoji in colour,
 * @iconify-json/fluent-emoji, is not among them: nine tenths of its pictures are those of the 3D set again.)
 */
export const iconSets: readonly IconSet[] = [
  {
    id: 'fluent-3d',
    package: '@lobehub/fluent-emoji-3d',
    kind: 'files',
    style: '3D',
    phrase: 'a 3D picture of',
    genders: true,
    tones: true,
    title: 'Fluent Emoji 3D',
    author: 'Microsoft Corporation (packaged by LobeHub)',
    source: 'https://github.com/microsoft/fluentui-emoji',
    license: 'MIT',
  },
  {
    ...iconify('fluent-emoji-flat'),
    id: 'fluent-flat',
    style: 'flat icon',
    phrase: 'a flat icon of',
    genders: true,
    title: 'Fluent Emoji Flat',
    author: 'Microsoft Corporation',
    source: 'https://github.com/microsoft/fluentui-emoji',
    license: 'MIT',
  },
  {
    ...iconify('noto'),
    id: 'noto',
    style: 'clip art',
    phrase: 'clip art of',
    genders: true,
    title: 'Noto Emoji',
    author: 'Google Inc.',
    source: 'https://github.com/googlefonts/noto-emoji',
    license: 'Apache-2.0',
  },
  {
    ...iconify('twemoji'),
    id: 'twemoji',
    style: 'sticker',
    phrase: 'a sticker of',
    genders: false,
    title: 'Twemoji',
    author: 'Twitter, Inc. and other contributors',
    source: 'https://github.com/jdecked/twemoji',
    license: 'CC-BY-4.0',
  },
  {
    ...iconify('emojione'),
    id: 'emojitwo',
    style: 'emoji',
    phrase: 'an emoji of',
    genders: false,
    title: 'EmojiTwo',
    author: 'EmojiTwo, from Emoji One',
    source: 'https://github.com/EmojiTwo/emojitwo',
    license: 'CC-BY-4.0',
  },
  {
    ...iconify('streamline-emojis'),
    id: 'streamline',
    style: 'cartoon',
    phrase: 'a cartoon of',
    genders: false,
    title: 'Streamline Emojis',
    author: 'Streamline',
    source: 'https://github.com/webalys-hq/streamline-vectors',
    license: 'CC-BY-4.0',
  },
  {
    ...iconify('noto-v1'),
    id: 'noto-v1',
    style: 'retro clip art',
    phrase: 'retro clip art of',
    genders: false,
    title: 'Noto Emoji, first version',
    author: 'Google Inc.',
    source: 'https://github.com/googlefonts/noto-emoji',
    license: 'Apache-2.0',
  },
  {
    ...iconify('fxemoji'),
    id: 'fxemoji',
    style: 'illustration',
    phrase: 'an illustration of',
    genders: false,
    title: 'Firefox OS Emoji',
    author: 'Mozilla',
    source: 'https://github.com/mozilla/fxemoji',
    license: 'Apache-2.0',
  },
]
