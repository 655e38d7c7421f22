import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { buildIconPack } from '../../../../lib/data/icons/build.js'
import { titleWords, withViewBox } from '../../../../lib/data/icons/openclipart.js'
import { openPack } from '../../../../lib/data/pack.js'

const drawing = (title: string, body: string, licence = 'http://web.resource.org/cc/PublicDomain') =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="40pt" height="40pt"><metadata><rdf:RDF
xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/"
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work rdf:about=""><dc:title>${title}</dc:title>
<dc:subject><rdf:Bag><rdf:li>animals</rdf:li><rdf:li>pet</rdf:li></rdf:Bag></dc:subject>
<cc:license rdf:resource="${licence}"/></cc:Work></rdf:RDF></metadata>${body}</svg>`
const dot = '<circle cx="25" cy="25" r="20" fill="#c22"/>'

t.test('titles become words', async (t) => {
  const cases: [string, string | null][] = [
    ['Red_telephone 01', 'red telephone'],
    ['Clipart by Nicu Buculei - note with pin', 'note with pin'],
    ['School (country)', 'school'],
    ['Santa&apos;s hat', "santa's hat"],
    ['x', null],
    ['3456', null],
    ['Gâteau', null],
  ]
  for (const [title, words] of cases) t.equal(titleWords(title), words)
})

t.test('a drawing without a view box gets that of its page', async (t) => {
  t.equal(
    withViewBox('<svg width="40pt" height="8px"><g/></svg>'),
    '<svg viewBox="0 0 50 8" width="50" height="8"><g/></svg>',
  )
  const given = '<svg width="40pt" height="8px" viewBox="0 0 1 1"/>'
  t.equal(withViewBox(given), given)
  t.equal(withViewBox('<svg width="100%" height="8px"/>'), '<svg width="100%" height="8px"/>')
})

t.test('drawings are packed beside the sets, and what does not fit is counted', async (t) => {
  const folder = t.testdir({
    svg: {
      animals: {
        'dog.svg': drawing('Dog', dot),
        'cat.svg': drawing('Striped cat', '<rect x="10" y="10" width="30" height="20" fill="#24d"/>'),
        'broken.svg': drawing('Broken', '<g>'),
        'empty.svg': drawing('Empty', ''),
        'bought.svg': drawing('Bought', dot, 'http://example.org/all-rights'),
        'number.svg': drawing('17', dot),
      },
      shapes: { 'star.svg': drawing('Star', dot) },
    },
  })
  const out = join(folder, 'pack')
  const report = await buildIconPack(out, { size: 32, sets: [], openclipart: join(folder, 'svg') })
  t.equal(report.count, 2)
  t.same(report.styles, { drawing: 2 })
  t.same(report.leftOut, { openclipart: { category: 1, licence: 1, unnamed: 1, notRendered: 2 } })
  t.equal(report.notRendered.length, 2)
  t.match(report.notRendered[0], /^openclipart\/animals\/broken\.svg does not render/)
  t.match(report.notRendered[1], /^openclipart\/animals\/empty\.svg does not render \(nothing can be seen\)/)
  using pack = openPack(report.paths[0])
  const infos = pack.keys.map((key) => pack.info(key))
  t.match(
    infos.find(({ label }) => label === 'dog'),
    { prompt: 'a dog, drawing', concept: '1f415', set: 'openclipart' },
  )
  t.match(
    infos.find(({ label }) => label === 'striped cat'),
    {
      prompt: 'a striped cat, drawing',
      concept: 'openclipart striped cat',
      tags: ['pet'],
    },
  )
  t.match(readFileSync(join(out, 'ATTRIBUTION.md'), 'utf8'), /drawing .*Open Clip Art Library.*Public domain/)
  await t.rejects(buildIconPack(out, { sets: [], openclipart: join(folder, 'nowhere') }), {
    code: 'ERR_FILE',
    message: /nowhere holds no drawings/,
  })
})
