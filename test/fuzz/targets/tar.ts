/** WebDataset tars, read as a training reads them. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BadRecords } from '../../../lib/data/bad-records.js'
import { tarSamples } from '../../../lib/data/tar.js'
import { TarSource, type TarSourceOptions } from '../../../lib/data/tar-source.js'
import { numberedPng } from '../../support/tiny-images.js'
import { type MemberOptions, member, mutateTar, paxRecord, type TarMember, tarOf } from '../tar.js'
import type { FuzzTarget } from '../target.js'

const json = (facts: object): string => JSON.stringify(facts)

/** A picture, its caption and facts. */
const sample = (key: string, number: number, options: MemberOptions = {}): TarMember[] => [
  member(`${key}.png`, numberedPng(number, 8), options),
  member(`${key}.txt`, `picture ${number}`, options),
  member(`${key}.json`, json({ prompt: `picture ${number}`, caption_long: `the picture ${number}`, split: 'train' })),
]
const longName = `${'folder/'.repeat(20)}long`

/** Tars with everything that the format knows and the readers look at. */
const seeds = (): Buffer[] => [
  tarOf([...sample('00000', 0), ...sample('00001', 1), ...sample('00002', 2)]),
  tarOf([
    member('pax_global_header', paxRecord('comment', 'made for a test'), { type: 'g' }),
    member('PaxHeader/a', paxRecord('path', `${longName}.png`) + paxRecord('mtime', '1.5'), { type: 'x' }),
    member('short', numberedPng(3, 8)),
    member('PaxHeader/b', paxRecord('path', `${longName}.txt`) + paxRecord('size', '9'), { type: 'x' }),
    member('short', 'picture 3'),
  ]),
  tarOf([
    member('././@LongLink', `${longName}.png\0`, { type: 'L', gnu: true }),
    member(longName, numberedPng(4, 8), { gnu: true }),
    member('././@LongLink', 'somewhere else\0', { type: 'K', gnu: true }),
    member(`${longName.slice(0, 90)}.lnk`, '', { type: '2', gnu: true }),
  ]),
  tarOf([
    member('data/', '', { type: '5' }),
    ...sample('00000', 5, { prefix: 'data' }),
    member('fifo', '', { type: '6' }),
    ...sample('00001', 6, { binarySize: true }),
    ...sample('00002', 7, { type: '7' }),
  ]),
  // Samples that cannot be used: no picture, another one, facts that are none, filters, the other split.
  tarOf([
    member('0.txt', 'no picture'),
    member('1.png', 'no picture either'),
    member('2.jpg', numberedPng(2, 8)),
    member('2.json', '[1, 2]'),
    member('3.png', numberedPng(3, 8)),
    member('3.json', json({ prompt: 'x', pwatermark: 0.9, punsafe: 0.9, language: 'en' })),
    member('4.png', numberedPng(4, 32, 8)),
    member('4.caption', 'a wide picture --ar 4:1 https://example.org'),
    member('5.png', numberedPng(5, 8)),
    member('5.json', json({ caption: 'held out', split: 'held-out' })),
    ...sample('6', 6),
  ]),
]

/** Of these one is taken by the input's length. */
const options: readonly TarSourceOptions[] = [
  { resolution: 8 },
  { resolution: 8, split: 'train', shuffle: false, once: true },
  { resolution: 8, rank: 1, ranks: 2, seed: 3, filters: { minSide: false, captionLength: [1, 30], languages: ['en'] } },
  {
    resolution: 8,
    buckets: [
      { width: 8, height: 8 },
      { width: 16, height: 8 },
    ],
  },
]

/** Any number of damaged ones; what people are told of them is one line that does nothing to a terminal. */
function badRecords(): (name: string, message: string) => void {
  const bad = new BadRecords(
    1,
    () => Number.MAX_SAFE_INTEGER,
    (line) => {
      if (/\p{Cc}/u.test(line)) throw new Error(`not one line: ${JSON.stringify(line)}`)
    },
  )
  return (name, message) => bad.add(name, message)
}

/** What another source gives from a state. */
async function resumed(file: string, chosen: TarSourceOptions, state: unknown): Promise<string | undefined> {
  const source = await TarSource.open([file], chosen, badRecords())
  try {
    source.restore(state)
    return (await source.next())?.sample.id
  } finally {
    source.close()
  }
}

/** Draws some samples; from the state before one of them another source gives the same. */
async function draw(file: string, chosen: TarSourceOptions): Promise<string> {
  const source = await TarSource.open([file], chosen, badRecords())
  try {
    const ids = new Set<string>()
    for (let i = 0; i < 6; i++) {
      const state: unknown = JSON.parse(JSON.stringify(source.state()))
      const step = await source.next()
      if (!step) break
      await step.sample.read()
      const { id } = step.sample
      ids.add(id)
      if (i !== 4) continue
      const same = await resumed(file, chosen, state)
      if (same !== id) throw new Error(`from ${JSON.stringify(state)}: ${same}, expected ${id}`)
    }
    return `drawn ${ids.size} ${Object.keys(source.leftOut).join()}`
  } finally {
    source.close()
  }
}

export const tar: FuzzTarget = {
  name: 'tar',
  sources: ['lib/data/tar.js', 'lib/data/tar-source.js', 'lib/data/bad-records.js'],
  pieces: [
    ...['ustar\0', '.json', '.txt', '.png', '.jpg', '.caption', '0000644\0', '00000000010\0', 'x', 'g', 'L', '5'],
    ...['path=', '12 path=a\n', 'size=', '"prompt":"', '"split":"held-out"', '"pwatermark":1', '"language":"de"'],
  ],
  seeds,
  mutate: mutateTar,
  open: (scratch) => {
    const file = join(scratch, 'x.tar')
    return {
      run: async (input) => {
        writeFileSync(file, input)
        if (input.length % 5 > 0) return draw(file, options[input.length % options.length])
        let samples = 0
        for await (const { end } of tarSamples(file)) {
          samples++
          if (end % 512 !== 0) throw new Error(`a sample ends at ${end}`)
        }
        return `read ${Math.min(samples, 5)}`
      },
    }
  },
}
