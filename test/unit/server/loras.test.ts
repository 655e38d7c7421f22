/** LoRAs that requests choose: which are offered with which model, and what is drawn with them. */
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { Star } from '../../../lib/index.js'
import { serveModels } from '../../../lib/server/index.js'
import { post } from '../../support/draw-server.js'
import { writeTinyLora } from '../../support/tiny-lora.js'
import { tinySide, writeTinyModel } from '../../support/tiny-model.js'

const folder = t.testdir({ styles: {}, empty: {} })
const at = (...names: string[]): string => join(folder, ...names)
writeTinyModel(at('tiny'))
writeTinyModel(at('wide'), 'wide', { width: 64 })
writeTinyLora(at('always'), at('tiny'), 90)
// A folder as PEFT writes it, a run folder, a file with its configuration inside, and a LoRA of another model.
writeTinyLora(at('styles', 'bold'), at('tiny'))
mkdirSync(at('styles', 'calm'))
writeTinyLora(at('styles', 'calm', 'model'), at('tiny'), 50)
writeTinyLora(at('single'), at('tiny'), 70)
copyFileSync(at('single', 'adapter_model.safetensors'), at('styles', 'single.safetensors'))
writeTinyLora(at('styles', 'broad'), at('wide'))

const bold = { name: 'bold', path: at('styles', 'bold') }
const calm = { name: 'calm', path: at('styles', 'calm', 'model') }
const prompt = 'a cat'
const seed = 5

/** The picture that a model loaded with these LoRAs draws, and what it says of itself. */
async function drawn(lora: { path: string; strength: number }[]): Promise<Buffer> {
  await using star = await Star.load(at('tiny'), { device: 'cpu', thread: 'main', lora })
  return (await star.generate(prompt, { seed })).images[0].toBuffer('png')
}

t.test('a server with LoRAs to choose', async (t) => {
  const load = { device: 'cpu', lora: [{ path: at('always'), strength: 0.5 }] }
  const options = { host: '127.0.0.1', port: 0, load, loras: [at('styles')] }
  const server = await serveModels({ models: [at('tiny')], ...options })
  t.teardown(() => server.close())
  await server.ready
  const { address } = server
  const body = { prompt, seed }
  const generate = async (more: object): Promise<Buffer> => {
    const answer = await post(address, '/v1/images/generations', { ...body, ...more })
    const { data } = (await answer.json()) as { data: { b64_json: string }[] }
    return Buffer.from(data[0].b64_json, 'base64')
  }

  await t.test('lists those that fit, with what they are applied by default', async (t) => {
    const answer = await fetch(new URL('/v1/models', address))
    const { data } = (await answer.json()) as { data: { loras: object[] }[] }
    t.same(data[0].loras, [
      { name: 'always', strength: 0.5, source: at('always') },
      { name: 'bold', strength: 0, source: bold.path },
      { name: 'calm', strength: 0, source: calm.path },
      { name: 'single', strength: 0, source: at('styles', 'single.safetensors') },
    ])
  })

  await t.test('draws what a model loaded with them draws, to the byte', async (t) => {
    const choices = [
      [{ name: bold.name, strength: 0.8 }],
      [{ name: calm.name, strength: 1 }],
      [
        { name: bold.name, strength: 0.4 },
        { name: calm.name, strength: 0.7 },
      ],
      [],
    ]
    const pathOf = (name: string): string => (name === 'bold' ? bold.path : calm.path)
    // At once, so that some wait while others are drawn.
    const answers = await Promise.all([...choices, null].map((lora) => generate({ lora })))
    for (const [i, choice] of choices.entries())
      t.ok(
        answers[i].equals(await drawn(choice.map(({ name, strength }) => ({ path: pathOf(name), strength })))),
        JSON.stringify(choice),
      )
    t.ok(answers[4].equals(await drawn(load.lora)), 'those of the start where a request says nothing')
    t.equal(new Set(answers.map((answer) => answer.toString('base64'))).size, 5)
    t.match(await Star.settingsOf(answers[0]), { lora: [{ path: bold.path, strength: 0.8 }], loraMode: 'apply' })
    t.equal((await Star.settingsOf(answers[3])).lora, undefined)
    t.ok((await generate({ lora: [{ name: 'bold' }] })).equals(await drawn([{ path: bold.path, strength: 1 }])))
  })

  await t.test('changes pictures with them', async (t) => {
    const raw = { width: tinySide, height: tinySide, channels: 4 as const }
    const pixels = Buffer.alloc(4 * tinySide * tinySide, 200)
    for (let i = 0; i < tinySide; i++) pixels[4 * i + 3] = 0
    const image = await sharp(pixels, { raw }).png().toBuffer()
    const edit = async (lora: string | null): Promise<string> => {
      const form = new FormData()
      form.set('image', new Blob([Uint8Array.from(image)]), 'image.png')
      form.set('prompt', prompt)
      form.set('seed', '3')
      if (lora !== null) form.set('lora', lora)
      const answer = await fetch(new URL('/v1/images/edits', address), { method: 'POST', body: form })
      return answer.text()
    }
    const pictureOf = (text: string): string => (JSON.parse(text) as { data: { b64_json: string }[] }).data[0].b64_json
    t.not(pictureOf(await edit('[{"name":"bold","strength":1}]')), pictureOf(await edit('[]')))
    t.match(JSON.parse(await edit('bold')), { error: { param: 'lora', message: /"lora"/ } })
  })

  await t.test('refuses others', async (t) => {
    const refused = async (lora: unknown): Promise<unknown> => {
      const answer = await post(address, '/v1/images/generations', { ...body, lora })
      t.equal(answer.status, 400)
      return answer.json()
    }
    t.match(await refused([{ name: 'broad' }]), {
      error: { param: 'lora', message: '"lora": tiny has no LoRA "broad" here; it has always, bold, calm, single' },
    })
    t.match(await refused([{ name: 'bold', strength: 'much' }]), { error: { param: 'lora.0.strength' } })
    t.match(await refused([{ name: 'bold' }, { name: 'bold' }]), { error: { message: /is named twice/ } })
  })
})

t.test('a LoRA as the model is one of them itself', async (t) => {
  const server = await serveModels({ models: [bold.path], host: '127.0.0.1', port: 0, load: { device: 'cpu' } })
  t.teardown(() => server.close())
  await server.ready
  const answer = await fetch(new URL('/v1/models', server.address))
  const { data } = (await answer.json()) as { data: { loras: object[] }[] }
  t.same(data[0].loras, [{ name: 'bold', strength: 1, source: bold.path }])
  const weak = await post(server.address, '/v1/images/generations', {
    prompt,
    seed,
    lora: [{ name: 'bold', strength: 0.2 }],
  })
  const file = Buffer.from(((await weak.json()) as { data: { b64_json: string }[] }).data[0].b64_json, 'base64')
  t.ok(file.equals(await drawn([{ path: bold.path, strength: 0.2 }])))
})

t.test('what cannot be offered is said before the server starts', async (t) => {
  const start = (more: object) => serveModels({ models: [at('tiny')], host: '127.0.0.1', port: 0, ...more })
  await t.rejects(start({ loras: [at('none')] }), { code: 'ERR_FILE', message: /none does not exist: give a LoRA/ })
  await t.rejects(start({ loras: [at('empty')] }), {
    code: 'ERR_FILE',
    message: /empty holds no LoRA: expected folders/,
  })
  await t.rejects(start({ loras: [at('styles')], load: { loraMode: 'merge' } }), {
    code: 'ERR_ARGUMENT',
    message: /cannot be merged into the weights/,
  })
})

t.test('a call chooses among the LoRAs of its model', async (t) => {
  const lora = [
    { path: bold.path, strength: 0 },
    { path: calm.path, strength: 0.5 },
  ]
  for (const thread of ['main', 'worker'] as const) {
    await using star = await Star.load(at('tiny'), { device: 'cpu', thread, lora })
    const draw = async (more: object): Promise<Buffer> =>
      (await star.generate(prompt, { seed, ...more })).images[0].toBuffer('png')
    const chosen = [{ path: bold.path, strength: 0.3 }]
    const [own, other, none, again] = await Promise.all([
      draw({}),
      draw({ lora: chosen }),
      draw({ lora: [] }),
      draw({}),
    ])
    t.ok(own.equals(await drawn(lora)))
    t.ok(other.equals(await drawn(chosen)))
    t.ok(none.equals(await drawn([])), 'as if there were none')
    t.ok(again.equals(own))
    await t.rejects(draw({ lora: [{ path: 'elsewhere' }] }), {
      code: 'ERR_ARGUMENT',
      message: /^"lora": "elsewhere" was not loaded with tiny, which has ".*bold", ".*model"$/,
    })
  }
  await using merged = await Star.load(at('tiny'), { device: 'cpu', thread: 'main', lora, loraMode: 'merge' })
  await t.rejects(merged.generate(prompt, { lora }), { code: 'ERR_ARGUMENT', message: /were merged into its weights/ })
})
