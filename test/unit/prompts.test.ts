import t from 'tap'
import { between, readPrompt, readPrompts, type WeightedPrompt } from '../../lib/prompts.js'

const parts = (...list: [string, number][]): WeightedPrompt[] => list.map(([prompt, weight]) => ({ prompt, weight }))

t.test('texts with weights are several prompts, all others one', async (t) => {
  const weighted: [string, WeightedPrompt[]][] = [
    ['a cat:1.2 and a dog:0.8', parts(['a cat', 1.2], ['a dog', 0.8])],
    ['a cat: 2 and  a dog :1', parts(['a cat', 2], ['a dog', 1])],
    ['salt and pepper:1 and oil:.5 and water:1e-1', parts(['salt and pepper', 1], ['oil', 0.5], ['water', 0.1])],
    ['a cat:0 AND a dog:3', parts(['a cat', 0], ['a dog', 3])],
    ['at 12:30 and dark:1 and a moon:2', parts(['at 12:30 and dark', 1], ['a moon', 2])],
  ]
  for (const [text, expected] of weighted) t.same(readPrompt(text), { text, parts: expected }, text)
  const plain = [
    'a red apple',
    'a clock at 12:30 and a cat',
    'ratio 3:2 and a frame',
    'film poster: cats and dogs',
    'a cat:1.2',
    'a: b',
    'salt and pepper',
  ]
  for (const text of plain) t.same(readPrompt(text), { text }, text)
})

t.test('a list with weights is one prompt, whose text reads as the same', async (t) => {
  for (const list of [
    parts(['a cat', 1.2], ['a dog', 0.8]),
    parts(['apollo 11', 1], ['salt and pepper', 0.25], ['a moon', 3]),
  ]) {
    const read = readPrompt(list)
    t.same(read.parts, list)
    t.same(readPrompt(read.text).parts, list)
    t.same(readPrompts([list, 'a dog']), [read, { text: 'a dog' }])
    t.same(readPrompts(list), [read])
  }
  t.same(readPrompt(parts(['a cat', 7])), { text: 'a cat' })
})

t.test('weights that are none are refused in one line', async (t) => {
  const cases: [unknown, RegExp][] = [
    ['a cat:1.2 and a dog', /the prompt "a dog" has no weight/],
    ['a cat:1.2 and a dog:x', /the weight of the prompt "a dog" is "x", expected a number from 0/],
    ['a cat:x and a dog:2', /the weight of the prompt "a cat" is "x"/],
    ['a cat:1 and a dog:x and a cow:2', /the weight of the prompt "a dog" is "x"/],
    ['a cat:-1 and a dog:2', /the weight of the prompt "a cat" is -1/],
    ['a cat:0 and a dog:0', /all prompts of a picture have the weight 0/],
    ['a cat:1 and :2', /the prompt is empty/],
    [
      [
        { prompt: 'a cat', weight: Number.NaN },
        { prompt: 'a dog', weight: 1 },
      ],
      /"a cat" is NaN/,
    ],
    [[{ prompt: 'a cat', weight: '1' }], /"a cat" is "1"/],
    [[{ prompt: 'a cat' }, { prompt: 'a dog', weight: 1 }], /"a cat" is undefined/],
    [[{ weight: 1 }], /a prompt is undefined/],
    [
      [
        { prompt: 'a cat:1 and a dog', weight: 1 },
        { prompt: 'x', weight: 1 },
      ],
      /has weights inside/,
    ],
    [[], /no prompt was given/],
    [['a', 5], /a prompt is 5/],
  ]
  for (const [prompt, message] of cases) {
    const error = t.throws(() => readPrompts(prompt), { code: 'ERR_ARGUMENT', message }) as Error
    t.notMatch(error.message, /\n/)
  }
})

t.test('between two prompts, weights go from one to the other', async (t) => {
  const [cat, pets] = [readPrompt('a cat'), readPrompt('a dog:3 and a cow:1')]
  t.equal(between(cat, pets, 0), cat)
  t.equal(between(cat, pets, 1), pets)
  t.same(between(cat, pets, 0.25), {
    text: 'a cat:0.75 and a dog:0.1875 and a cow:0.0625',
    parts: parts(['a cat', 0.75], ['a dog', 0.1875], ['a cow', 0.0625]),
  })
})
