import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { buildEmojiPack, captionOf, emojiCaptions, listEmoji } from '../../../lib/data/emoji.js'
import { openPack } from '../../../lib/data/pack.js'
import { decodeImage } from '../../../lib/data/preprocess.js'

t.test('labels become captions', async (t) => {
  const cases: [string, string][] = [
    ['red apple', 'a red apple'],
    ['ear', 'an ear'],
    ['unicorn', 'a unicorn'],
    ['umbrella', 'an umbrella'],
    ['waving hand: light skin tone', 'a waving hand with light skin tone'],
    ['man: dark skin tone, red hair', 'a man with dark skin tone and red hair'],
    ['person walking: light skin tone, facing right', 'a person walking, facing right with light skin tone'],
    ['flag: Ghana', 'the flag of Ghana'],
    ['keycap: 3', 'a keycap with 3'],
  ]
  for (const [label, caption] of cases) t.equal(captionOf(label), caption)
})

t.test('every emoji has a picture, a name and one place', async (t) => {
  const emoji = listEmoji()
  t.ok(emoji.length > 3000, `${emoji.length} emoji`)
  t.equal(new Set(emoji.map((e) => e.hexcode)).size, emoji.length)
  t.equal(new Set(emoji.map((e) => e.file)).size, emoji.length)
  const apple = emoji.find((e) => e.label === 'red apple')!
  t.match(apple, { hexcode: '1f34e', emoji: '🍎', group: 'food & drink', tags: ['apple', 'diet', 'food', 'fruit'] })
  t.equal(emojiCaptions(apple).prompt, 'a red apple')
  t.ok(
    emoji.every((e) =>
      Object.values(emojiCaptions(e)).every((caption) => caption.length > 1 && caption.length <= 1024),
    ),
  )
  const toned = emoji.find((e) => e.label === 'waving hand: medium skin tone')!
  t.match(emojiCaptions(toned), { prompt: 'a waving hand with medium skin tone' })
  t.ok(emojiCaptions(toned).caption_tags?.includes('hello'), 'a variant has the keywords of its emoji')
})

t.test('five percent are held out, variants together', async (t) => {
  const emoji = listEmoji()
  const heldOut = emoji.filter((e) => e.split === 'held-out')
  const share = heldOut.length / emoji.length
  t.ok(share > 0.03 && share < 0.07, `${heldOut.length} of ${emoji.length}`)
  const bases = new Set(heldOut.map((e) => e.base))
  t.ok(emoji.every((e) => bases.has(e.base) === (e.split === 'held-out')))
})

t.test('the pack holds all of them on white', async (t) => {
  const folder = t.testdir()
  let done = 0
  const { paths, count, heldOut } = await buildEmojiPack(folder, {
    size: 16,
    onProgress: (n) => {
      done = n
    },
  })
  t.same(paths, [join(folder, 'emoji-000000')])
  t.equal(done, count)
  using pack = openPack(paths[0])
  t.equal(pack.keys.length, count)
  t.equal(pack.keys.filter((key) => pack.info(key).split === 'held-out').length, heldOut)
  const apple = pack.keys.find((key) => pack.info(key).label === 'red apple')!
  t.match(pack.info(apple), {
    id: '1f34e',
    basename: '1f34e.png',
    prompt: 'a red apple',
    width: 16,
    height: 16,
    emoji: '🍎',
  })
  const { width, height, data } = await decodeImage(pack.image(apple))
  t.same([width, height, ...data.subarray(0, 3)], [16, 16, 255, 255, 255], 'the corner is white')
  const [red, green] = data.subarray((8 * 16 + 8) * 3)
  t.ok(red > 2 * green, 'the middle is red')
})

t.test('stopping leaves nothing', async (t) => {
  const folder = t.testdir()
  const controller = new AbortController()
  const onProgress = (done: number) => {
    if (done === 20) controller.abort()
  }
  await t.rejects(buildEmojiPack(folder, { size: 16, onProgress, signal: controller.signal }), { code: 'ERR_ABORTED' })
  t.same(readdirSync(folder), [])
  await t.rejects(buildEmojiPack(folder, { size: 3 }), { code: 'ERR_ARGUMENT' })
})
