import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { packImages } from '../../../../lib/data/index.js'
import { readRunConfig } from '../../../../lib/train/run-config.js'
import {
  amount,
  duration,
  type FileFacts,
  tokenizerText,
  transformerText,
} from '../../../../lib/train/starter/files.js'
import { candidates, filteringOf, possibleSides, sides } from '../../../../lib/train/starter/sizes.js'
import { type Survey, type SurveyedPicture, surveyData } from '../../../../lib/train/starter/survey.js'

const surveyOf = (pictures: SurveyedPicture[]): Survey => ({
  ...{ packed: false, total: pictures.length, pictures, withoutCaption: 0, unreadable: 0, heldOut: 0 },
})
const squares = (...all: number[]): SurveyedPicture[] =>
  all.map((side) => ({ width: side, height: side, captions: ['a picture'] }))

t.test('what a folder of pictures and packs of them hold', async (t) => {
  const folder = t.testdir({ pictures: {} })
  const input = join(folder, 'pictures')
  const picture = (width: number, height: number) =>
    sharp({ create: { width, height, channels: 3, background: 'red' } })
  for (const [name, width, height] of [
    ['a', 40, 30],
    ['b', 64, 80],
  ] as const) {
    await picture(width, height)
      .png()
      .toFile(join(input, `${name}.png`))
    writeFileSync(join(input, `${name}.txt`), `the picture ${name}\n`)
  }
  await picture(20, 50).withMetadata({ orientation: 6 }).jpeg().toFile(join(input, 'turned.jpg'))
  writeFileSync(join(input, 'turned.txt'), 'a turned picture')
  await picture(8, 8).png().toFile(join(input, 'silent.png'))
  writeFileSync(join(input, 'broken.png'), 'no picture')
  writeFileSync(join(input, 'broken.txt'), 'nothing')
  const survey = await surveyData(input)
  t.match(survey, { packed: false, total: 5, withoutCaption: 1, unreadable: 1, heldOut: 0 })
  t.same(survey.pictures, [
    { width: 40, height: 30, captions: ['the picture a'] },
    { width: 64, height: 80, captions: ['the picture b'] },
    { width: 50, height: 20, captions: ['a turned picture'] },
  ])

  const out = join(folder, 'packs')
  const report = await packImages([input], { dataset: 'mine', out, heldOut: 0.6 })
  t.ok(report.heldOut > 0)
  const packs = await surveyData(out)
  t.match(packs, { packed: true, total: 3, withoutCaption: 0, unreadable: 0, heldOut: report.heldOut })
  t.same(packs.pictures, survey.pictures)

  mkdirSync(join(folder, 'empty'))
  await t.rejects(surveyData(join(folder, 'empty')), { code: 'ERR_FILE', message: /holds no images and no tars/ })
  await t.rejects(surveyData(join(folder, 'none')), { code: 'ERR_FILE', message: /none does not exist/ })
  mkdirSync(join(folder, 'captionless'))
  await picture(8, 8)
    .png()
    .toFile(join(folder, 'captionless', 'x.png'))
  await t.rejects(surveyData(join(folder, 'captionless')), {
    code: 'ERR_FILE',
    message: /holds no picture to train on \(1 without a caption, 0 unreadable\)/,
  })
})

t.test('the side is what most pictures have', async (t) => {
  t.same(possibleSides(surveyOf(squares(...Array(20).fill(300)))), [256, 128, 64])
  t.same(possibleSides(surveyOf(squares(70, ...Array(19).fill(300)))), [256, 128, 64], 'one of twenty may be smaller')
  t.same(possibleSides(surveyOf(squares(70, 70, 70, ...Array(17).fill(300)))), [64])
  t.same(possibleSides(surveyOf(squares(2000, 2000))), [256, 128, 64], 'larger ones are asked for')
  t.same(possibleSides(surveyOf(squares(20, 20))), [32])
  t.same(possibleSides(surveyOf(squares(20)), 512), [512])
  t.throws(() => possibleSides(surveyOf(squares(20)), 100), {
    code: 'ERR_ARGUMENT',
    message: /--size is 100, expected 32/,
  })
})

t.test('filters let short captions and asked-for enlargement pass', async (t) => {
  const pictures = [...squares(...Array(19).fill(64)), { width: 64, height: 400, captions: ['a tower'] }]
  t.same(filteringOf(surveyOf(pictures), 64), { filters: {}, leftOut: { aspectRatio: 1 }, enlarged: 0 })
  t.match(filteringOf(surveyOf(pictures), 128), { filters: { minSide: false }, enlarged: 20 })
  const cat = { width: 64, height: 64, captions: ['cat'] }
  t.match(filteringOf(surveyOf([...pictures, cat]), 64), { filters: { captionLength: [0, 1024] } })
  const one = filteringOf(surveyOf([...pictures, ...squares(63)]), 64)
  t.same(one, { filters: {}, leftOut: { aspectRatio: 1, minSide: 1 }, enlarged: 0 })
})

t.test('more pictures call for larger models, and a smaller one is behind each', async (t) => {
  const [few] = candidates(50, [64])
  t.match(few, { side: 64, depth: 4, width: 128, tokenizer: { steps: 800 }, transformer: { steps: 400 } })
  const many = candidates(5000, [128, 64])
  t.same(
    many.map(({ side, width }) => [side, width]),
    [
      [128, 256],
      [64, 256],
      [64, 192],
      [64, 128],
    ],
  )
  t.ok(many[0].tokenizer.steps > 5000 && many[0].transformer.steps > 5000)
})

t.test('the written configurations are valid, whatever is in them', async (t) => {
  const folder = t.testdir()
  for (const side of sides)
    for (const filters of [
      {},
      { minSide: false } as const,
      { captionLength: [0, 1024] as [number, number] },
      { minSide: false, captionLength: [0, 1024] as [number, number] } as const,
    ])
      for (const accumulate of [1, 4]) {
        const [sizes] = candidates(40_000, [side])
        const estimate = { seconds: 5000, bytes: 2e9, accumulate }
        const facts: FileFacts = {
          ...{
            folder: 'my "run"',
            packs: 'my "run"/data',
            name: 'run',
            count: 40_000,
            prompts: ['a "b"', 'c // d'],
            sizes,
          },
          filtering: { filters, leftOut: {}, enlarged: 0 },
          estimates: { tokenizer: estimate, transformer: { ...estimate, precision: 'bf16' } },
          machine: '2 processor cores',
        }
        for (const [kind, text] of [
          ['tokenizer', tokenizerText(facts)],
          ['transformer', transformerText(facts)],
        ] as const) {
          const file = join(folder, `${kind}.json`)
          writeFileSync(file, text)
          const { config, notices } = readRunConfig(file, { kind })
          t.same(notices, [])
          t.match(config, {
            runFolder: `my "run"/${kind}`,
            data: { packs: ['my "run"/data'], resolution: side, filters },
            optimizer: { accumulate, ...sizes[kind] },
          })
          t.match(text, /expected to take 83 min\n\/\/ and 2\.0 GB of memory/)
        }
      }
  t.same([5, 44, 89, 100, 5399, 5400, 86400].map(duration), [
    '10 s',
    '40 s',
    '90 s',
    '2 min',
    '90 min',
    '1.5 h',
    '24.0 h',
  ])
  t.equal(amount(1.25e9), '1.3 GB')
})
