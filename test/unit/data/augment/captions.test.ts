import t from 'tap'
import { captionsOnBackground, recolouredCaptions } from '../../../../lib/data/augment/captions.js'
import { mayMirror } from '../../../../lib/data/augment/plan.js'

t.test('a new colour is said in place of the old one, or added', async (t) => {
  const cases: [string, string, string, string | null][] = [
    ['a red apple, 3D', 'red', 'blue', 'a blue apple, 3D'],
    ['a red car', 'red', 'orange', 'an orange car'],
    ['an orange cat, sticker', 'orange', 'green', 'a green cat, sticker'],
    ['a car, sticker', 'red', 'blue', 'a blue car, sticker'],
    ['an owl', 'yellow', 'purple', 'a purple owl'],
    ['an owl', 'yellow', 'orange', 'an orange owl'],
    ['the sun', 'yellow', 'green', 'the green sun'],
    ['a sticker of a car', 'red', 'blue', 'a sticker of a blue car'],
    ['clip art of the sun behind a cloud', 'yellow', 'pink', 'clip art of the pink sun behind a cloud'],
    ['a 3D picture of a red apple', 'red', 'yellow', 'a 3D picture of a yellow apple'],
    // What cannot be said truly.
    ['an orange, 3D', 'orange', 'blue', null],
    ['a red and green apple', 'red', 'blue', null],
    ['a black cat', 'red', 'blue', null],
    ['a golden key', 'yellow', 'blue', null],
    ['a mug of beer', 'yellow', 'blue', null],
    ['driving, 3D', 'red', 'blue', null],
    ['a colorful parrot', 'red', 'blue', null],
  ]
  for (const [caption, from, to, said] of cases)
    t.same(recolouredCaptions([caption], from, to), said ? [said] : [], caption)
  t.same(recolouredCaptions(['a car', 'driving', 'a red car'], 'red', 'blue'), ['a blue car', 'a blue car'])
  t.same(recolouredCaptions(['a helmet', 'a construction worker'], 'yellow', 'blue'), [], 'people are left as they are')
})

t.test('a background is said at the end or before the style', async (t) => {
  const cases: [string, string, string][] = [
    ['a car', 'blue', 'a car on a blue background'],
    ['a car, 3D', 'orange', 'a car on an orange background, 3D'],
    ['automobile, car, vehicle, flat icon', 'red', 'automobile, car, vehicle on a red background, flat icon'],
    ['a dog, which runs over a green meadow', 'red', 'a dog, which runs over a green meadow on a red background'],
    ['A picture of a car.', 'blue', 'A picture of a car on a blue background'],
  ]
  for (const [caption, name, said] of cases) t.same(captionsOnBackground([caption], name), [said])
  t.same(captionsOnBackground(['a car on a white background'], 'blue'), [])
})

t.test('what speaks of sides or of writing is not mirrored', async (t) => {
  for (const caption of [
    'a hand pointing left',
    'a right-facing fist',
    'a leftwards hand',
    'a clockwise arrow',
    'a stop sign',
    'the letters ZZZ',
    'a gold medal',
  ])
    t.notOk(mayMirror(['a thing', caption]), caption)
  for (const caption of [
    'a red apple, 3D',
    'a bright star',
    'a copyrighted cake',
    'a weasel',
    'a feast',
    'a swordfish',
  ])
    t.ok(mayMirror([caption]), caption)
})
