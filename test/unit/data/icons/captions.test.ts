import t from 'tap'
import { iconCaptions, sayLabel, Vocabulary } from '../../../../lib/data/icons/captions.js'
import { Concepts } from '../../../../lib/data/icons/concepts.js'
import { everydayNames, protectedLabels } from '../../../../lib/data/icons/everyday/index.js'
import { otherNames } from '../../../../lib/data/icons/other-names.js'
import { picturesOf } from '../../../../lib/data/icons/pictures.js'
import { sayings } from '../../../../lib/data/icons/sayings.js'
import { type IconSet, iconSets } from '../../../../lib/data/icons/sets.js'

const concepts = new Concepts()
const vocabulary = new Vocabulary(concepts.all)
const labels = new Set(concepts.all.map(({ label }) => label))
const set = (id: string) => iconSets.find((s) => s.id === id) as IconSet
const captionsOf = (label: string, id: string, turn = 0) =>
  iconCaptions(concepts.byName(label)!, set(id), turn, vocabulary, null)

t.test('labels are said as one would say them', async (t) => {
  const cases: [string, string][] = [
    ['red apple', 'a red apple'],
    ['owl', 'an owl'],
    ['unicorn', 'a unicorn'],
    ['ewe', 'a ewe'],
    ['sun', 'the sun'],
    ['grapes', 'grapes'],
    ['sushi', 'sushi'],
    ['glasses', 'glasses'],
    ['glass of milk', 'a glass of milk'],
    ['cactus', 'a cactus'],
    ['Santa Claus', 'Santa Claus'],
    ['high voltage', 'a lightning bolt'],
    ['pile of poo', 'a pile of poo'],
    ['man: beard', 'a man with a beard'],
    ['waving hand: light skin tone', 'a waving hand with light skin tone'],
    ['OK hand: dark skin tone', 'an OK hand with dark skin tone'],
    ['man: dark skin tone, red hair', 'a man with dark skin tone and red hair'],
  ]
  for (const [label, said] of cases) t.equal(sayLabel(label), said)
})

t.test('the tables name labels that exist', async (t) => {
  t.same(
    Object.values(everydayNames)
      .flat()
      .filter((label) => !labels.has(label)),
    [],
  )
  t.same(
    [...protectedLabels].filter((label) => !labels.has(label)),
    [],
  )
  for (const table of [sayings, otherNames]) {
    const unknown = Object.keys(table).filter((label) => !labels.has(label))
    t.same(unknown, [])
  }
})

t.test('a thing is called by its label, its everyday names and its keywords', async (t) => {
  const car = captionsOf('automobile', 'twemoji')
  t.match(car, {
    prompt: 'an automobile, sticker',
    caption_plain: 'an automobile',
    caption_phrase: 'a sticker of an automobile',
    caption_everyday: ['a car, sticker', 'a car'],
    caption_keywords: /^automobile, .*car.*, sticker$/,
  })
  const colour = { name: 'red' as const, share: 0.7, next: 0.1 }
  const subject = concepts.byName('automobile')!
  t.equal(iconCaptions(subject, set('noto'), 2, vocabulary, colour).caption_colour, 'a red car, clip art')
  t.equal(iconCaptions(subject, set('noto'), 2, vocabulary, { ...colour, share: 0.3 }).caption_colour, undefined)
  t.equal(iconCaptions(subject, set('noto'), 2, vocabulary, { ...colour, next: 0.6 }).caption_colour, undefined)
  const orange = { ...colour, name: 'orange' as const }
  t.equal(iconCaptions(subject, set('noto'), 2, vocabulary, orange).caption_colour, 'an orange car, clip art')
  t.equal(
    iconCaptions(concepts.byName('green book')!, set('noto'), 2, vocabulary, colour).caption_colour?.includes('green'),
    false,
  )
  t.equal(iconCaptions(concepts.byName('pizza')!, set('noto'), 2, vocabulary, colour).caption_colour, undefined)
})

t.test('styles share the keywords of a thing out', async (t) => {
  const all = vocabulary.keywords(concepts.byName('birthday cake')!.concept)
  const taken = iconSets.flatMap((_, turn) => captionsOf('birthday cake', 'noto', turn).caption_keyword ?? [])
  t.same(new Set(taken.map((caption) => caption.replace(', clip art', ''))), new Set(all))
  t.ok(taken.some((caption) => !caption.includes(', ')) && taken.some((caption) => caption.endsWith(', clip art')))
})

t.test('keywords that mislead do not stand alone', async (t) => {
  const of = (label: string) => vocabulary.keywords(concepts.byName(label)!.concept)
  t.notOk(of('fishing pole').includes('fish'), 'a fish is something else')
  t.ok(of('tropical fish').includes('fish'))
  t.notOk(of('slightly smiling face').includes('face'), 'shared by many')
  t.notOk(of('t-shirt').includes('object'))
})

t.test('everyday prompts are captions of pictures in most styles', async (t) => {
  const styles = new Map<string, Set<string>>()
  const lengths = new Set<number>()
  for (const [turn, set] of iconSets.entries())
    for (const { subject } of picturesOf(set, concepts, () => {}))
      for (const text of Object.values(iconCaptions(subject, set, turn, vocabulary, null)).flat()) {
        const bare = text.replace(`, ${set.style}`, '')
        styles.set(bare, (styles.get(bare) ?? new Set()).add(set.id))
        lengths.add(text.length)
      }
  const prompts = 'a red apple,a dog,pizza,a rocket,a smiling face,a car,a flower,a tree,a fish,a house,the sun'
  for (const prompt of [...prompts.split(','), 'a birthday cake'])
    t.ok((styles.get(prompt)?.size ?? 0) >= 7, `${prompt}: ${styles.get(prompt)?.size} styles`)
  t.ok(Math.min(...lengths) > 2 && Math.max(...lengths) < 200, 'no caption is very short or long')
})
