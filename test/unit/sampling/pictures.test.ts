import { join } from 'node:path'
import t from 'tap'
import type { CrossAttentionMode, TextInput } from '../../../lib/models/star/index.js'
import { loadTextEncoder } from '../../../lib/models/text/load.js'
import { native } from '../../../lib/native/index.js'
import { drawPictures, type PictureModels, type PictureRequest } from '../../../lib/sampling/index.js'
import { keep, scope } from '../../../lib/tensor/index.js'
import { TextStates } from '../../../lib/train/data/text-states.js'
import { drawPrompts } from '../../../lib/train/kinds/sample-pictures.js'
import { tinyParts, tinyScales, tinySide } from '../../support/tiny-model.js'

const settings = { cfg: 2, topK: 16, topP: 0.9 }
const prompts = ['a', 'a long description of a dog on a green meadow', 'an apple']
const empty = prompts.length

/** Runs `fn` with models and the texts of the prompts and of "", and checks that it leaves nothing behind. */
async function withModels(
  mode: CrossAttentionMode,
  fn: (models: PictureModels & { text: TextInput }) => Promise<void>,
): Promise<void> {
  const before = native.memory('cpu').liveBytes
  const models = tinyParts({ crossAttention: mode })
  const encoder = loadTextEncoder('minilm-l6', 'cpu')
  const text = encoder.encode([...prompts, ''])
  try {
    await fn({ ...models, text })
  } finally {
    for (const owned of [models.tokenizer, models.transformer, encoder, text.states, text.pooled, text.mask])
      owned.dispose()
  }
  t.equal(native.memory('cpu').liveBytes, before)
}

/** Sums of products may round differently in batches of other sizes. */
const near = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((value, i) => Math.abs(value - b[i]) <= 1)

for (const mode of ['per-sample', 'first-sample'] as const) {
  t.test(`a picture is the same drawn alone and with others: ${mode}`, async (t) => {
    await withModels(mode, async (models) => {
      const draw = (pictures: PictureRequest[]) => drawPictures({ ...models, empty, settings, pictures })
      const requests = [
        { prompt: 1, seed: 3 },
        { prompt: 0, seed: 3 },
        { prompt: 2, seed: 9 },
        { prompt: 1, seed: 4 },
      ]
      const together = await draw(requests)
      for (const [i, request] of requests.entries()) {
        const [alone] = await draw([request])
        t.equal(alone.length, tinySide * tinySide * 3)
        t.ok(near(together[i], alone), `prompt ${request.prompt}, seed ${request.seed}`)
      }
      t.notOk(near(together[0], together[1]), 'prompts make different pictures')
      t.notOk(near(together[0], together[3]), 'seeds too')
    })
  })

  t.test(`so are the sample pictures of a training: ${mode}`, async (t) => {
    await withModels(mode, async (models) => {
      const text = new TextStates(() => loadTextEncoder('minilm-l6', 'cpu'), join(t.testdir(), 'cache'))
      const given = [...prompts, 'the last of the first batch', 'alone in the second']
      const size = { width: tinySide, height: tinySide }
      const all = await drawPrompts({ ...models, text, device: 'cpu', prompts: given, settings, size })
      t.same(
        all.map((sample) => sample.prompt),
        given,
      )
      for (const [i, { prompt, picture }] of all.entries()) {
        const own = scope(() => {
          const batch = text.batch([prompt, ''], 'cpu')
          for (const tensor of Object.values(batch)) keep(tensor)
          return batch
        })
        // Four are drawn together, with seeds 0 to 3.
        const pictures = [{ prompt: 0, seed: i % 4 }]
        const [alone] = await drawPictures({ ...models, text: own, empty: 1, settings, pictures })
        t.ok(near(picture.data, alone), prompt)
        for (const tensor of Object.values(own)) tensor.dispose()
      }
      text.dispose()
    })
  })
}

t.test('a preview of the last scale is the picture, decoded once', async (t) => {
  await withModels('per-sample', async (models) => {
    const { tokenizer } = models
    const decode = tokenizer.decode.bind(tokenizer)
    let decoded = 0
    tokenizer.decode = (fHat) => {
      decoded++
      return decode(fHat)
    }
    let last: Uint8Array[] = []
    const pictures = await drawPictures({
      ...models,
      empty,
      settings,
      pictures: [{ prompt: 0, seed: 1 }],
      onScale: ({ preview }) => {
        last = preview()
      },
    })
    t.equal(decoded, tinyScales)
    t.same(last, pictures)
  })
})
