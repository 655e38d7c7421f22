import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ImageCaptionDataset } from '../../../../lib/data/dataset.js'
import { buildIconPack, holdOut } from '../../../../lib/data/icons/build.js'
import { Concepts } from '../../../../lib/data/icons/concepts.js'
import { protectedLabels } from '../../../../lib/data/icons/everyday/index.js'
import { picturesOf } from '../../../../lib/data/icons/pictures.js'
import { iconSets } from '../../../../lib/data/icons/sets.js'
import { openPack } from '../../../../lib/data/pack.js'

const concepts = new Concepts()
const counts: Record<string, number> = {}
const all = iconSets.map((set) =>
  picturesOf(set, concepts, (_, reason) => {
    counts[reason] = (counts[reason] ?? 0) + 1
  }),
)

t.test('pictures are of emoji, each once in a set, and the others counted', async (t) => {
  for (const pictures of all) t.equal(new Set(pictures.map(({ subject }) => subject.hexcode)).size, pictures.length)
  t.ok(all.flat().length > 8000, `${all.flat().length} pictures`)
  for (const pictures of all.slice(1))
    t.notOk(
      pictures.some(({ subject }) => subject.tone),
      'skin tones in one style only',
    )
  t.ok(all[0].some(({ subject }) => subject.label === 'waving hand: dark skin tone'))
  t.notOk(all.flat().some(({ subject }) => /^(flag|keycap|family): |o’clock|facing right$/.test(subject.label)))
  for (const reason of ['category', 'tone', 'gender', 'direction', 'unnamed', 'twice', 'wrong'])
    t.ok(counts[reason] > 0, reason)
})

t.test('five percent of the pictures are of held-out things, five percent are held-out pairs', async (t) => {
  const pictures = all.flat()
  const held = holdOut(pictures)
  for (const kind of ['concept', 'pair'] as const) {
    const share = held.filter((k) => k === kind).length / held.length
    t.ok(share > 0.04 && share < 0.06, `${kind}: ${share}`)
  }
  const kinds = new Map<string, Set<string>>()
  pictures.forEach(({ subject: { concept } }, i) => {
    kinds.set(concept.id, (kinds.get(concept.id) ?? new Set()).add(String(held[i])))
    if (held[i]) t.notOk(protectedLabels.has(concept.label), concept.label)
  })
  for (const [id, of] of kinds) {
    if (of.has('concept')) t.equal(of.size, 1, `${id} is held out whole`)
    if (of.has('pair')) t.ok(of.has('null'), `${id} is seen in another style`)
  }
  // Fewer pictures leave the others where they are.
  const some = pictures.filter((_, i) => i % 3 > 0)
  const indices = pictures.flatMap((_, i) => (i % 3 > 0 ? [i] : []))
  const moved = holdOut(some).filter((kind, i) => kind !== held[indices[i]] && held[indices[i]] !== 'pair')
  t.same(moved, [])
})

t.test('the pack of one set', async (t) => {
  const folder = t.testdir({ a: {}, b: {} })
  const options = { size: 32, sets: ['streamline'] }
  const report = await buildIconPack(join(folder, 'a'), options)
  t.same(readdirSync(join(folder, 'a')).sort(), [
    'ATTRIBUTION.md',
    'contact-sheet.png',
    'icons-000000',
    'icons-000000-info.json',
    'icons-000000-lock',
    'icons-report.json',
  ])
  using pack = openPack(report.paths[0])
  t.equal(pack.keys.length, report.count)
  t.same(report.styles, { cartoon: report.count })
  const apple = pack.keys.find((key) => pack.info(key).label === 'red apple')!
  t.match(pack.info(apple), {
    id: 'streamline-1f34e',
    prompt: 'a red apple, cartoon',
    concept: '1f34e',
    style: 'cartoon',
    set: 'streamline',
    width: 32,
    height: 32,
    split: 'train',
  })
  using dataset = await ImageCaptionDataset.open(report.paths, { resolution: 32, split: 'train' })
  t.same(dataset.leftOut, {}, 'the filters of training leave nothing out')
  t.equal(dataset.length, report.count - report.heldOut.concept - report.heldOut.pair)
  t.match(
    readFileSync(join(folder, 'a', 'ATTRIBUTION.md'), 'utf8'),
    /cartoon .*Streamline.*CC-BY-4\.0.* \d+\.\d+\.\d+ /,
  )
  await buildIconPack(join(folder, 'b'), options)
  const [a, b] = ['a', 'b'].map((name) => readFileSync(join(folder, name, 'icons-000000')))
  t.ok(a.equals(b), 'the same bytes again')
})

t.test('stopping leaves nothing, and wrong options are refused', async (t) => {
  const folder = t.testdir()
  const controller = new AbortController()
  const onProgress = (done: number) => {
    if (done === 20) controller.abort()
  }
  const options = { size: 32, sets: ['streamline'], onProgress, signal: controller.signal }
  await t.rejects(buildIconPack(folder, options), { code: 'ERR_ABORTED' })
  t.same(readdirSync(folder), [])
  await t.rejects(buildIconPack(folder, { size: 3 }), { code: 'ERR_ARGUMENT' })
  await t.rejects(buildIconPack(folder, { sets: ['openmoji'] }), { code: 'ERR_ARGUMENT', message: /openmoji/ })
})
