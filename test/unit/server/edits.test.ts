/** Changing pictures by OpenAI's client and by AUTOMATIC1111's API. */
import OpenAI, { toFile } from 'openai'
import sharp from 'sharp'
import t from 'tap'
import { Star } from '../../../lib/index.js'
import { post, tinyServer } from '../../support/draw-server.js'
import { tinyScales, tinySide } from '../../support/tiny-model.js'

const bytes = Uint8Array.from({ length: tinySide ** 2 * 3 }, (_, i) => (i * 73) % 256)
const area = { width: tinySide, height: tinySide }
const rgb = sharp(bytes, { raw: { ...area, channels: 3 } })
const photo = await rgb.clone().png().toBuffer()
/** 255 in the right half. */
const right = Uint8Array.from({ length: tinySide ** 2 }, (_, i) => (i % tinySide >= 4 ? 255 : 0))
const grey = (values: Uint8Array): Promise<Buffer> =>
  sharp(values, { raw: { ...area, channels: 1 } })
    .png()
    .toBuffer()
const white = await grey(right)
/** Transparent in the right half, as OpenAI's clients send masks. */
const transparent = await rgb
  .clone()
  .joinChannel(Buffer.from(right.map((v) => 255 - v)), { raw: { ...area, channels: 1 } })
  .png()
  .toBuffer()

const pixels = (file: Buffer): Promise<Buffer> => sharp(file).removeAlpha().raw().toBuffer()
const decoded = (b64: string | undefined): Buffer => Buffer.from(b64!, 'base64')
const mask = { x: 4, y: 0, width: 4, height: tinySide }

interface Event {
  type: string
  b64_json: string
  scale_index?: number
  scales?: number
  usage: object
}

/** Tokens of a picture: 1 + 4 + 16. */
const tokens = 21
const usage = (read: number, drawn: number) => ({
  ...{ input_tokens: read, output_tokens: drawn, total_tokens: read + drawn },
  input_tokens_details: { text_tokens: 0, image_tokens: read },
})

t.test('OpenAI’s client edits, whole and as a stream', async (t) => {
  const { server, address } = await tinyServer(t)
  await server.ready
  const client = new OpenAI({ baseURL: `${address}v1`, apiKey: 'none', maxRetries: 0 })
  const file = (data: Buffer, name = 'a.png') => toFile(data, name, { type: 'image/png' })
  const common = { prompt: 'a red apple', seed: 7, cfg: 3, top_k: 5, top_p: 0.5, feather: 1 }
  const edit = async (params: object) =>
    client.images.edit({ image: await file(photo), ...common, ...params } as OpenAI.Images.ImageEditParamsNonStreaming)

  await using star = await Star.load(`${t.testdirName}/tiny`, { device: 'cpu' })
  const options = { prompt: 'a red apple', seed: 7, cfg: 3, topK: 5, topP: 0.5, feather: 1, mask }
  const { images } = await star.edit({ ...area, data: bytes }, { ...options, count: 2 })
  const two = await edit({ mask: await file(transparent), n: 2 })
  t.match(two, { size: `${tinySide}x${tinySide}`, output_format: 'png' })
  for (const [i, { b64_json }] of two.data!.entries())
    t.same([...(await pixels(decoded(b64_json)))], [...images[i].data], `picture ${i} is that of a program`)
  const own = await client.images.edit({ image: [await file(transparent)], ...common } as never)
  t.same([...(await pixels(decoded(own.data![0].b64_json)))], [...images[0].data], 'a picture can be its own mask')

  const streamed = async (params: object): Promise<Event[]> => {
    const events: Event[] = []
    const stream = await edit({ mask: await file(transparent), stream: true, partial_images: 64, ...params })
    for await (const event of stream as unknown as AsyncIterable<Event>) events.push(event)
    return events
  }
  const partial = (scale: number, scales: number) => ['image_edit.partial_image', scale, scales]
  const completed = ['image_edit.completed', undefined, undefined]
  const events = await streamed({})
  t.same(
    events.map(({ type, scale_index, scales }) => [type, scale_index, scales]),
    [...[0, 1, 2, 3, 4].map((scale) => partial(scale, 2 * tinyScales)), completed],
    'of both drawings, but for the last scale, which is the picture',
  )
  t.same([...(await pixels(decoded(events.at(-1)!.b64_json)))], [...images[0].data])
  t.same(events.at(-1)!.usage, usage(0, 2 * tokens), 'both drawings are counted')
  const partly = await streamed({ strength: 0.4, partial_images: 0 })
  t.same(partly[0].usage, usage(0, tokens), 'where scales are kept, there is one')
  t.same(
    (await streamed({ partial_images: 2 })).map(({ type, scale_index, scales }) => [type, scale_index, scales]),
    [partial(1, 6), partial(3, 6), completed],
  )

  for (const [params, status, param, message] of [
    [{}, 400, null, /nothing says which part of the picture is drawn/],
    [
      { mask: await file(await sharp(photo).resize(4).png().toBuffer()) },
      400,
      null,
      /the mask is 4×4, the picture 8×8/,
    ],
    [{ mask: await file(Buffer.from('hello')) }, 400, 'mask', /"mask" is no picture/],
    [{ mask: await file(white), n: 0 }, 400, 'n', /"n" is 0/],
    [{ mask: await file(white), n: 'x' }, 400, 'n', /"n" is "x"/],
    [{ mask: await file(white), size: '512x512' }, 400, 'size', /the picture has 8x8/],
    [{ mask: await file(white), strength: 3 }, 400, 'strength', /strength/],
    [{ image: await file(photo.subarray(0, 60)) }, 400, 'image', /"image" is no picture/],
    [{ image: 'text', mask: await file(white) }, 400, 'image', /"image": expected a file/],
    [{ image: [await file(photo), await file(photo)] }, 400, 'image', /"image" comes twice/],
    [{ mask: await file(white), model: 'other' }, 404, 'model', /this server has tiny/],
    [{ mask: await file(white), blur: 1 }, 400, 'blur', /blur/],
    [{ mask: await file(white), from: 'a cat' }, 400, 'mask', /words say what changes/],
    [{ mask: await file(white), share: 0.5 }, 400, 'share', /"share" goes with "from"/],
  ] as const)
    await t.rejects(edit(params), { status, ...(param && { param }), message }, message.source)
  const url = `${address}v1/images/edits`
  t.equal((await fetch(url, { method: 'POST', body: new FormData() })).status, 400)
  const broken = { 'content-type': 'multipart/form-data; boundary=x' }
  t.equal((await fetch(url, { method: 'POST', body: '--y\r\n', headers: broken })).status, 400)
})

t.test('words change a picture', async (t) => {
  const { server, address } = await tinyServer(t)
  await server.ready
  const client = new OpenAI({ baseURL: `${address}v1`, apiKey: 'none', maxRetries: 0 })
  const answer = await client.images.edit({
    ...{ image: await toFile(photo, 'a.png', { type: 'image/png' }), prompt: 'a green apple', seed: 7, n: 2 },
    ...{ from: 'a red apple', share: 0.5, strength: 1 },
  } as OpenAI.Images.ImageEditParamsNonStreaming)
  await using star = await Star.load(`${t.testdirName}/tiny`, { device: 'cpu' })
  const words = { from: 'a red apple', to: 'a green apple', share: 0.5, strength: 1 }
  const { images } = await star.edit({ ...area, data: bytes }, { ...words, seed: 7, count: 2 })
  for (const [i, { b64_json }] of answer.data!.entries())
    t.same([...(await pixels(decoded(b64_json)))], [...images[i].data])
  const streamed = await client.images.edit({
    ...{ image: await toFile(photo, 'a.png', { type: 'image/png' }), prompt: 'a green apple', n: 2, stream: true },
    ...{ from: 'a red apple' },
  } as OpenAI.Images.ImageEditParamsStreaming)
  const used: object[] = []
  for await (const event of streamed as unknown as AsyncIterable<Event>) used.push(event.usage)
  t.same(used, [usage(2 * tokens, tokens), usage(0, tokens)], 'the picture is read with both prompts, once for all')
  for (const [params, param, message] of [
    [{ from: 'A green  apple' }, null, /expected other words in one/],
    [{ from: 'a cat', share: 2 }, 'share', /"share" is 2/],
    [{ from: 'a cat', feather: 2 }, 'feather', /"feather" goes with a mask/],
    [{ from: 'a cat', size: '9x9' }, 'size', /multiples of 2/],
    [{ from: 'a cat', size: 'large' }, 'size', /"size" is "large": expected WIDTHxHEIGHT/],
  ] as const)
    await t.rejects(
      client.images.edit({
        ...{ image: await toFile(photo, 'a.png', { type: 'image/png' }), prompt: 'a green apple' },
        ...params,
      } as OpenAI.Images.ImageEditParamsNonStreaming),
      { status: 400, ...(param && { param }), message },
      message.source,
    )
})

t.test('img2img varies, and with a mask edits', async (t) => {
  const { server, address } = await tinyServer(t)
  await server.ready
  const usual = { prompt: 'a red apple', seed: 7, cfg_scale: 3, steps: 20, negative_prompt: 'a leaf' }
  const ask = async (fields: object) => {
    const answer = await post(address, '/sdapi/v1/img2img', { ...usual, ...fields })
    return { status: answer.status, body: (await answer.json()) as { images: string[]; info: string; error?: object } }
  }
  const init_images = [photo.toString('base64')]
  await using star = await Star.load(`${t.testdirName}/tiny`, { device: 'cpu' })
  const options = { prompt: 'a red apple', negativePrompt: 'a leaf', seed: 7, cfg: 3 }
  const given = { ...area, data: bytes }

  const varied = await ask({ init_images, denoising_strength: 0.4 })
  const [variation] = (await star.vary(given, { ...options, strength: 0.4 })).images
  t.same([...(await pixels(decoded(varied.body.images[0])))], [...variation.data])
  const info = JSON.parse(varied.body.info)
  t.match(info, { negative_prompt: 'a leaf', ignored: ['steps'] })
  t.match(info.infotexts[0], /^a red apple\nNegative prompt: a leaf\nSampler: STAR/)

  const [edited] = (await star.edit(given, { ...options, mask, feather: 1 })).images
  const painted = white.toString('base64')
  const opaque = await sharp({ create: { ...area, channels: 3, background: 'black' } })
    .joinChannel(Buffer.from(right), { raw: { ...area, channels: 1 } })
    .png()
    .toBuffer()
  const inverse = await grey(right.map((v) => 255 - v))
  const large = await sharp(white).resize(32, 32, { kernel: 'nearest' }).png().toBuffer()
  for (const [name, fields] of [
    ['white', { mask: painted }],
    ['a data: URL', { mask: `data:image/png;base64,${painted}` }],
    ['opaque', { mask: opaque.toString('base64') }],
    ['inverted', { mask: inverse.toString('base64'), inpainting_mask_invert: 1 }],
    ['of another size', { mask: large.toString('base64') }],
  ] as const) {
    const { body } = await ask({ init_images, mask_blur: 1, ...fields })
    t.same([...(await pixels(decoded(body.images[0])))], [...edited.data], name)
  }
  const kept = await ask({ init_images, mask: painted, mask_blur: 1, inpainting_fill: 1, denoising_strength: 0.4 })
  const [partly] = (await star.edit(given, { ...options, mask, feather: 1, strength: 0.4 })).images
  t.same([...(await pixels(decoded(kept.body.images[0])))], [...partly.data], 'coarse scales kept inside')

  for (const fields of [
    {},
    { init_images: [] },
    { init_images: ['AAAA'] },
    { init_images, denoising_strength: 2 },
    { init_images, mask: 'AAAA' },
    { init_images, mask: (await grey(right.map(() => 0))).toString('base64') },
  ])
    t.equal((await ask(fields)).status, 400, JSON.stringify(fields).slice(0, 60))
})
