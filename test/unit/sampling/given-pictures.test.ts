import t from 'tap'
import type { TextInput } from '../../../lib/models/star/index.js'
import { native } from '../../../lib/native/index.js'
import { conditionsOf, disposeGiven, drawnFrom, keptPositions } from '../../../lib/sampling/given-pictures.js'
import { drawPictures, type GivenPicture, generate, type ScaleEvent } from '../../../lib/sampling/index.js'
import { scope, Tensor } from '../../../lib/tensor/index.js'
import { signed } from '../../support/gradcheck.js'
import { plainGeneration } from '../../support/plain-sampling.js'
import { tinyParts, tinySide } from '../../support/tiny-model.js'

const pixelCount = tinySide * tinySide
const settings = { cfg: 3, topK: 0, topP: 0, seed: 5 }

/** Shares that `drawn` makes 0. */
const keepMap = (drawn: (x: number, y: number) => boolean): Float32Array =>
  Float32Array.from({ length: pixelCount }, (_, i) => (drawn(i % tinySide, Math.floor(i / tinySide)) ? 0 : 1))

const picture = (changes: Partial<GivenPicture> = {}, salt = 3): GivenPicture => ({
  pixels: Uint8Array.from({ length: pixelCount * 3 }, (_, i) => (i * 37 * salt + ((i * i) % 91)) % 256),
  keep: null,
  keptScales: 0,
  softEdge: false,
  ...changes,
})

const texts = (count: number): TextInput => ({
  states: signed([count, 3, 384], 21),
  pooled: signed([count, 384], 22),
  mask: null,
})

async function withModels(fn: (models: ReturnType<typeof tinyParts> & { text: TextInput }) => Promise<void>) {
  const before = native.memory('cpu').liveBytes
  const models = tinyParts()
  const text = texts(2)
  try {
    await fn({ ...models, text })
  } finally {
    for (const owned of [models.tokenizer, models.transformer, text.states, text.pooled]) owned.dispose()
  }
  t.equal(native.memory('cpu').liveBytes, before, 'nothing is left behind')
}

t.test('the map of a scale is the share of each position’s area, cut at a half', async (t) => {
  // Columns 3 to 7 of 8 are drawn: of four positions a row the second is drawn by half, of two the first by a quarter.
  const keep = keepMap((x) => x >= 3)
  const soft = { softEdge: true }
  t.same([...keptPositions(keep, 2, soft)], [0.75, 0, 0.75, 0])
  t.same([...keptPositions(keep, 4, soft)], Array(4).fill([1, 0.5, 0, 0]).flat())
  const hard = { softEdge: false }
  t.same([...keptPositions(keep, 2, hard)], [1, 0, 1, 0])
  t.same([...keptPositions(keep, 4, hard)], Array(4).fill([1, 0, 0, 0]).flat())
  // Thirds of 8 pixels: 2⅔ kept, then ⅓ of a pixel of 2⅔.
  const thirds = [...keptPositions(keep, 3, soft)]
  for (const [i, share] of [1, 0.125, 0].entries()) t.ok(Math.abs(thirds[3 + i] - share) < 1e-6, `third ${i}`)
  t.same([...keptPositions(keep, 1, hard)], [1], 'one token stands for the whole picture')
  t.same([...keptPositions(keep, 1, soft)], [1])
})

t.test('a mask thinner than a position is drawn where it covers most', async (t) => {
  const line = keepMap((x, y) => x === 2 && y < 4)
  t.equal(drawnFrom(line, 4), 0.25)
  t.same(
    [...keptPositions(line, 4, { softEdge: false, threshold: 0.25 })],
    [1, 0, 1, 1, 1, 0, 1, 1, ...Array(8).fill(1)],
  )
  t.equal(
    drawnFrom(
      keepMap((x) => x < 4),
      4,
    ),
    0.5,
  )
  const nothing = keepMap(() => false)
  t.same([...keptPositions(nothing, 2, { softEdge: false, threshold: drawnFrom(nothing, 4) })], [1, 1, 1, 1])
})

const halves = {
  hard: [[1], [1, 0, 1, 0], Array(4).fill([1, 0, 0, 0]).flat()],
  soft: [[1], [0.75, 0, 0.75, 0], Array(4).fill([1, 0.5, 0, 0]).flat()],
}
const cases: Record<string, { changes: Partial<GivenPicture>; masks: number[][] }> = {
  'a mask': { changes: { keep: keepMap((x) => x >= 3) }, masks: halves.hard },
  'a soft edge': { changes: { keep: keepMap((x) => x >= 3), softEdge: true }, masks: halves.soft },
  'a variation': { changes: { keptScales: 2 }, masks: [[1], Array(4).fill(1), Array(16).fill(0)] },
  both: { changes: { keptScales: 2, keep: keepMap((x) => x >= 3) }, masks: [[1], Array(4).fill(1), halves.hard[2]] },
}
for (const [name, { changes, masks }] of Object.entries(cases))
  t.test(`drawing with a given picture is the plain method: ${name}`, async (t) => {
    await withModels(async (models) => {
      const { tokenizer, transformer, text } = models
      const given = picture(changes)
      const values = Float32Array.from(given.pixels, (byte) => byte / 127.5 - 1)
      const maps = scope(() =>
        tokenizer.tokenize(Tensor.from(values, [1, tinySide, tinySide, 3])).map((tokens) => tokens.ints()),
      )
      const expected = scope(() =>
        plainGeneration(models, {
          text,
          texts: [{ row: 0, share: 1 }],
          away: 1,
          settings,
          given: { tokens: maps, masks },
        }),
      )
      const conditions = conditionsOf(tokenizer, [given])
      const seen: number[][] = []
      const onScale = ({ tokens }: ScaleEvent): void => void seen.push([...tokens!.ints()])
      using fHat = await generate({
        ...{ transformer, quantizer: tokenizer.quantizer, text, empty: 1, settings, conditions, onScale },
      })
      disposeGiven(conditions)
      t.same(seen, expected.tokens, 'tokens')
      const own = fHat.floats()
      t.ok(
        own.every((x, i) => Math.abs(x - expected.fHat[i]) < 1e-4),
        'f̂',
      )
      t.ok(new Set(expected.tokens.flat()).size > 5, 'tokens differ')
    })
  })

t.test('pictures of several given ones are those of each alone', async (t) => {
  await withModels(async ({ tokenizer, transformer, text }) => {
    const draw = (given: (GivenPicture | undefined)[]) =>
      drawPictures({
        ...{ tokenizer, transformer, text, empty: 1, settings },
        pictures: given.map((own, i) => ({ prompt: 0, seed: 7 + i, given: own })),
      })
    const first = picture({ keep: keepMap((x) => x >= 3) })
    const second = picture({ keptScales: 1 }, 5)
    const together = await draw([first, second, first])
    t.same((await draw([first]))[0], together[0])
    t.notSame(together[2], together[0], 'seeds make different pictures')
    t.notSame(together[1], (await draw([first, first]))[1])
    t.same((await draw([picture()]))[0], (await draw([undefined]))[0], 'what keeps nothing is a new picture')
    const [all] = await draw([picture({ keptScales: 3 })])
    const whole = scope(() =>
      tokenizer
        .reconstruct(
          Tensor.from(
            Float32Array.from(picture().pixels, (byte) => byte / 127.5 - 1),
            [1, tinySide, tinySide, 3],
          ),
        )
        .floats(),
    )
    t.ok(
      all.every((byte, i) => Math.abs(byte - 127.5 * (whole[i] + 1)) <= 0.51),
      'all scales kept: the reconstruction',
    )
    await t.rejects(draw([first, undefined]), { code: 'ERR_ARGUMENT', message: /1 of 2 pictures/ })
    await t.rejects(draw([{ ...first, pixels: first.pixels.subarray(3) }]), { code: 'ERR_SHAPE' })
  })
})
