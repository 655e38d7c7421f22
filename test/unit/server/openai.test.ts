/** OpenAI's API, by OpenAI's own client. */
import OpenAI from 'openai'
import t from 'tap'
import { Star } from '../../../lib/index.js'
import { partialScales } from '../../../lib/server/api/image-answers.js'
import { metric, post, tinyServer, until } from '../../support/draw-server.js'
import { tinyScales, tinySide } from '../../support/tiny-model.js'

const png = Buffer.from([0x89, 0x50, 0x4e, 0x47])
const size = `${tinySide}x${tinySide}`
const bytesOf = (b64: string | undefined): Buffer => Buffer.from(b64!, 'base64')

/** Fields that are ours, which the types of the client do not know. */
type Params = OpenAI.Images.ImageGenerateParams & { seed?: number; cfg?: number; top_k?: number; top_p?: number }
const draw = (params: Params & { stream?: false }): OpenAI.Images.ImageGenerateParamsNonStreaming => params
const stream = (params: Params): OpenAI.Images.ImageGenerateParamsStreaming => ({ ...params, stream: true })

t.test('OpenAI’s client draws, whole and as a stream', async (t) => {
  const { server, address } = await tinyServer(t)
  await server.ready
  const client = new OpenAI({ baseURL: `${address}v1`, apiKey: 'none', maxRetries: 0 })

  const models = await client.models.list()
  t.same(
    models.data.map(({ id, object }) => [id, object]),
    [['tiny', 'model']],
  )
  t.match(await client.models.retrieve('tiny'), {
    id: 'tiny',
    state: 'ready',
    image_size: tinySide,
    scales: tinyScales,
  })

  const two = await client.images.generate(draw({ prompt: 'a red apple', n: 2, seed: 7, cfg: 3, top_k: 5, top_p: 0.5 }))
  t.equal(two.data?.length, 2)
  t.match(two, { output_format: 'png', size, background: 'opaque' })
  const settings = await Promise.all(two.data!.map(({ b64_json }) => Star.settingsOf(bytesOf(b64_json))))
  t.match(
    settings,
    [7, 8].map((seed) => ({ prompt: 'a red apple', model: 'tiny', seed, cfg: 3, topK: 5, topP: 0.5 })),
  )

  const wide = await client.images.generate(draw({ prompt: 'a red apple', seed: 8, size: '12x6' as 'auto' }))
  t.equal(wide.size as string, '12x6')
  t.match(await Star.settingsOf(bytesOf(wide.data![0].b64_json)), { size: { width: 12, height: 6 } })
  const { sizes } = (await client.models.retrieve('tiny')) as unknown as { sizes: string[] }
  t.same(sizes, ['8x8', '10x6', '6x10'])
  const one = await client.images.generate(
    draw({ prompt: 'a red apple', seed: 8, cfg: 3, top_k: 5, top_p: 0.5, size: 'auto' }),
  )
  t.equal(one.data![0].b64_json, two.data![1].b64_json, 'the same seed and settings, the same file')
  const byChance = await client.images.generate({ prompt: 'a', size: size as 'auto', output_format: 'webp' })
  t.equal(bytesOf(byChance.data![0].b64_json).toString('latin1', 8, 12), 'WEBP')
  const byAddress = await client.images.generate({ prompt: 'a', response_format: 'url', output_format: 'jpeg' })
  const file = await fetch(byAddress.data![0].url!)
  t.equal(file.headers.get('content-type'), 'image/jpeg')
  t.same(Buffer.from(await file.arrayBuffer()).subarray(0, 2), Buffer.from([0xff, 0xd8]))
  t.equal((await fetch(new URL('/v1/images/files/none', address))).status, 404)

  const events: OpenAI.Images.ImageGenStreamEvent[] = []
  for await (const event of await client.images.generate(
    stream({ prompt: 'a red apple', seed: 8, cfg: 3, top_k: 5, top_p: 0.5, partial_images: 3 }),
  ))
    events.push(event)
  t.same(
    events.map((event) => [event.type, 'partial_image_index' in event ? event.partial_image_index : null]),
    [
      ['image_generation.partial_image', 0],
      ['image_generation.partial_image', 1],
      ['image_generation.completed', null],
    ],
  )
  t.equal(new Set(events.map(({ b64_json }) => b64_json)).size, 3, 'each scale shows another picture')
  for (const { b64_json } of events) t.ok(bytesOf(b64_json).subarray(0, 4).equals(png))
  t.equal(events.at(-1)!.b64_json, one.data![0].b64_json, 'the stream ends in the same file')
})

t.test('refusals have OpenAI’s form, and name the field', async (t) => {
  const { server, address } = await tinyServer(t)
  await server.ready
  const client = new OpenAI({ baseURL: `${address}v1`, apiKey: 'none', maxRetries: 0 })
  for (const [params, status, param, message] of [
    [{ prompt: 'a', n: 0 }, 400, 'n', /"n" is 0, expected number to be >=1/],
    [{ prompt: 'a', n: 33 }, 400, 'n', /33/],
    [{ prompt: '' }, 400, 'prompt', /"prompt"/],
    [{}, 400, 'prompt', /"prompt" is missing/],
    [{ prompt: 'a'.repeat(4097) }, 400, 'prompt', /4096/],
    [{ prompt: 'a', size: '512x512' }, 400, 'size', /too far from what tiny was trained on \(8×8\)/],
    [{ prompt: 'a', size: '9x8' }, 400, 'size', /multiples of 2 pixels: ask for 10×8/],
    [{ prompt: 'a', size: '0x8' }, 400, 'size', /from 1/],
    [{ prompt: 'a', size: 'big' }, 400, 'size', /WIDTHxHEIGHT/],
    [{ prompt: 'a', background: 'transparent' }, 400, 'background', /opaque/],
    [{ prompt: 'a', seeds: 1 }, 400, 'seeds', /did you mean "seed"/],
    [{ prompt: 'a', top_p: 2 }, 400, 'top_p', /top_p/],
    [{ prompt: 'a', model: 'other' }, 404, 'model', /this server has tiny/],
  ] as const) {
    const refused = client.images.generate(params as never)
    await t.rejects(refused, { status, param, message }, JSON.stringify(params).slice(0, 50))
  }
  t.equal((await fetch(`${address}v1/images/generations`)).status, 405)
  t.match(await (await fetch(`${address}v2`)).json(), { error: { type: 'invalid_request_error', code: 'not_found' } })
})

t.test('an API key is asked for, but not by health checks', async (t) => {
  const { server, address } = await tinyServer(t, { apiKey: 'se-cret' })
  await server.ready
  const wrong = new OpenAI({ baseURL: `${address}v1`, apiKey: 'wrong', maxRetries: 0 })
  await t.rejects(wrong.models.list(), { status: 401, code: 'invalid_api_key' })
  const right = new OpenAI({ baseURL: `${address}v1`, apiKey: 'se-cret', maxRetries: 0 })
  t.equal((await right.images.generate({ prompt: 'a' })).data?.length, 1)
  for (const path of ['/healthz', '/readyz']) t.equal((await fetch(new URL(path, address))).status, 200, path)
  for (const path of ['/', '/metrics', '/openapi.json', '/docs'])
    t.equal((await fetch(new URL(path, address))).status, 401, path)
})

t.test('a full queue refuses with 429 and Retry-After; a client that leaves is forgotten', async (t) => {
  const { server, address } = await tinyServer(t, { queue: 1, batch: 1, hold: 0 })
  await server.ready
  const controllers = Array.from({ length: 3 }, () => new AbortController())
  // The first is drawn, the second waits, for the third there is no room.
  const long = { prompt: 'a', n: 32, stream: true, progress: true, partial_images: 9 }
  const start = (i: number): Promise<Response> =>
    fetch(`${address}v1/images/generations`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...long, cfg: i }),
      signal: controllers[i].signal,
    })
  const first = await start(0)
  await until('the first is drawn', async () => (await metric(address, 'star_requests_drawing')) === 1)
  const second = await start(1)
  t.equal(second.status, 200)
  const third = await start(2)
  t.equal(third.status, 429)
  t.equal(third.headers.get('retry-after'), '2')
  t.match(await third.json(), { error: { type: 'rate_limit_error', code: 'queue_full' } })
  const reader = second.body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  while (!text.includes('"position":0')) text += (await reader.read()).value
  t.pass('who waits is told the place')
  controllers[0].abort()
  controllers[1].abort()
  await t.rejects(first.text())
  await until(
    'both are forgotten',
    async () =>
      (await metric(address, 'star_queue_waiting')) === 0 && (await metric(address, 'star_requests_drawing')) === 0,
  )
  t.ok((await metric(address, 'star_pictures_total{model="tiny"}')) < 40, 'not all of it was drawn')
  t.equal(await metric(address, 'star_refusals_total{reason="queue_full"}'), 1)
  t.equal((await post(address, '/v1/images/generations', { prompt: 'a' })).status, 200)
})

/** The parts of the document that are looked at. */
interface OpenApi {
  openapi: string
  security: unknown[]
  paths: Record<string, Record<string, OpenApiOperation>>
}
interface OpenApiOperation {
  security?: unknown[]
  responses: Record<string, unknown>
  requestBody: {
    content: Record<
      string,
      {
        schema: { required: string[]; additionalProperties: boolean; properties: Record<string, { anyOf: unknown[] }> }
      }
    >
  }
}

t.test('the OpenAPI document says what is checked', async (t) => {
  const { server, address } = await tinyServer(t, { apiKey: 'se-cret' })
  await server.ready
  const authorization = 'Bearer se-cret'
  const document = (await (await fetch(`${address}openapi.json`, { headers: { authorization } })).json()) as OpenApi
  t.equal(document.openapi, '3.1.0')
  const { post: operation } = document.paths['/v1/images/generations']
  const { schema } = operation.requestBody.content['application/json']
  t.same(schema.required, ['prompt'])
  t.equal(schema.additionalProperties, false)
  t.match(schema.properties.n.anyOf, [{ type: 'integer', minimum: 1, maximum: 32 }])
  t.same(Object.keys(operation.responses), ['200', '400', '401', '404', '413', '429', '503'])
  t.same(document.security, [{ bearer: [] }, { password: [] }])
  t.same(document.paths['/healthz'].get.security, [])
  // Each address is there, and refuses what it does not take.
  for (const [path, methods] of Object.entries(document.paths))
    for (const method of Object.keys(methods)) {
      const url = new URL(path.replace('{id}', 'none'), address)
      const { status } = await fetch(url, { method, headers: { authorization } })
      t.ok(
        [200, 400, 404, 415, 501].includes(status) && (status !== 404 || path.includes('{id}')),
        `${method} ${path}: ${status}`,
      )
    }
})

t.test('scales of partial pictures', async (t) => {
  t.same([...partialScales(0, 6)], [])
  t.same([...partialScales(1, 6)], [2])
  t.same([...partialScales(3, 6)], [1, 2, 4])
  t.same([...partialScales(5, 6)], [0, 1, 2, 3, 4])
  t.same([...partialScales(64, 3)], [0, 1])
  t.same([...partialScales(3, 1)], [])
})
