import { join } from 'node:path'
import t from 'tap'
import { type FilterOptions, Filters, stripCaption } from '../../../lib/data/filters.js'

const facts = (more: Record<string, unknown> = {}) => ({ width: 100, height: 100, ...more })

t.test('addresses and flags are stripped, words are not', async (t) => {
  const cases: [string, string][] = [
    ['see https://example.com/x --ar 3:2 a green hill', 'see a green hill'],
    ['a cat --v 5 --no dogs, text --ar 16:9', 'a cat'],
    ['a cat --no dogs', 'a cat'],
    ['a cat --niji 5 --style raw', 'a cat'],
    ['a cat --q .5 sleeping', 'a cat sleeping'],
    ['<https://s.mj.run/abc> a dog --seed 12345', 'a dog'],
    ['a dog www.example.com/a?b=c', 'a dog'],
    ['an em dash —ar 3:2 here', 'an em dash here'],
    ['a pier --v 5.2 six cats --s 750 4 dogs', 'a pier six cats 4 dogs'],
    ['a state-of-the-art thing — and a dash', 'a state-of-the-art thing — and a dash'],
    ['word--like this', 'word--like this'],
    ['  two   spaces\n', 'two spaces'],
    ['', ''],
  ]
  for (const [given, expected] of cases) t.equal(stripCaption(given), expected)
})

t.test('each filter takes its own, counts it, and can be switched off', async (t) => {
  const cases: [string, Record<string, unknown>, string][] = [
    ['aspectRatio', { width: 301, height: 100 }, 'a prompt'],
    ['aspectRatio', { width: 100, height: 301 }, 'a prompt'],
    ['minSide', { width: 63, height: 100 }, 'a prompt'],
    ['captionLength', {}, 'abc'],
    ['captionLength', {}, 'x '.repeat(513)],
    ['captionLength', {}, '--ar 3:2 https://example.com'],
    ['repeatedCharacter', {}, 'a nooooo'],
    ['forbiddenText', {}, 'https://s.mj.run/abc a dog'],
    ['watermark', { pwatermark: 0.61 }, 'a prompt'],
    ['watermark', { pwatermark: '0.7' }, 'a prompt'],
    ['unsafe', { punsafe: 0.51 }, 'a prompt'],
    ['languages', { LANGUAGE: 'de' }, 'a prompt'],
  ]
  for (const [name, more, caption] of cases) {
    const filters = new Filters(64, { languages: ['en'] })
    t.equal(filters.apply(facts(more), [caption]), null, `${name} leaves out`)
    t.same(filters.counts, { [name]: 1 })
    t.equal(filters.kept, 0)
    const off = new Filters(64, { languages: ['en'], [name]: false })
    t.ok(off.apply(facts(more), [caption]), `${name} switched off`)
  }
})

t.test('what lies on the limit stays', async (t) => {
  const filters = new Filters(64)
  const kept = [
    [{ width: 192, height: 64 }, 'abcd'],
    [{}, `${'x '.repeat(511)}xy`],
    [{}, 'a noooo'],
    [{ pwatermark: 0.6, punsafe: 0.5, language: 'de' }, 'a prompt'],
    [{ pwatermark: null, punsafe: '' }, 'ünï 🍎🍎🍎🍎'],
  ] as const
  for (const [more, caption] of kept) t.ok(filters.apply(facts(more), [caption]), caption.slice(0, 20))
  t.equal(filters.kept, kept.length)
  t.same(filters.counts, {})
})

t.test('captions that pass are kept, stripped and once', async (t) => {
  const filters = new Filters(64)
  t.same(filters.apply(facts(), ['ab', 'a cat --v 5', 'a cat', 'a dog']), ['a cat', 'a dog'])
  t.equal(filters.apply(facts(), []), null)
  t.same(new Filters(64, { strip: false }).apply(facts(), ['a cat --v 5 ']), ['a cat --v 5'])
  t.equal(filters.apply({ width: 0, height: 0 }, ['a cat']), null, 'an image without pixels')
})

t.test('lists of ids and reward scores leave images out', async (t) => {
  const folder = t.testdir({
    'list.json': '["a", 7]',
    'object.json': '{"b": {"why": "blurred"}}',
    rewards: { '1.json': '{"c": 0.2, "d": 0.5}', '2.json': '{"e": 0.51, "7": 0.1}', 'notes.txt': 'x' },
    'numbers.json': '3',
    'texts.json': '{"c": "low"}',
    empty: {},
  })
  const at = (...names: string[]): string[] => names.map((name) => join(folder, name))
  const filters = new Filters(8, {
    discard: at('list.json', 'object.json'),
    reward: { scores: at('rewards'), above: 0.5 },
  })
  const facts = { width: 8, height: 8 }
  const failed = (id: unknown, key?: string) => filters.failedByImage({ ...facts, id }, key)
  t.same(
    ['a', 7, '7', 'b', 'c', 'd', 'e', 'f'].map((id) => failed(id)),
    ['discard', 'discard', 'discard', 'discard', 'reward', 'reward', null, null],
    'a score at the threshold is left out, an image without one is kept',
  )
  t.equal(failed(undefined, 'a'), 'discard', 'by the name of the sample where the info has no id')
  t.equal(filters.apply({ ...facts, id: 'c' }, ['a caption']), null)
  t.same(filters.counts, { reward: 1 })
  const refused = (options: FilterOptions, code: string, message: RegExp) =>
    t.throws(() => new Filters(8, options), { code, message })
  refused({ discard: at('none.json') }, 'ERR_FILE', /none\.json cannot be read/)
  refused({ discard: at('numbers.json') }, 'ERR_CONFIG', /numbers\.json holds 3, expected a list of ids/)
  refused(
    { reward: { scores: at('texts.json'), above: 0 } },
    'ERR_CONFIG',
    /texts\.json holds {"c":"low"}, expected a number for each id/,
  )
  refused({ reward: { scores: at('empty'), above: 0 } }, 'ERR_FILE', /empty holds no \.json file/)
})
