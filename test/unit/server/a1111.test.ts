/** The API of AUTOMATIC1111's web UI, with the bodies that its clients send. */
import sharp from 'sharp'
import t from 'tap'
import { post, tinyServer, until } from '../../support/draw-server.js'
import { tinyScales, tinySide } from '../../support/tiny-model.js'

/** What the clients that were looked at send with every request, whether asked for or not. */
const usual = {
  enable_hr: false,
  denoising_strength: 0.7,
  negative_prompt: 'blurry',
  styles: [],
  subseed: -1,
  subseed_strength: 0,
  sampler_name: 'Euler a',
  scheduler: 'automatic',
  steps: 20,
  width: 512,
  height: 512,
  restore_faces: false,
  eta: 1,
  override_settings: {},
  override_settings_restore_afterwards: true,
  script_name: null,
  script_args: [],
  send_images: true,
  save_images: false,
  alwayson_scripts: {},
}

interface Answer {
  images: string[]
  parameters: Record<string, unknown>
  info: string
}

t.test('pictures, models, options and texts of pictures', async (t) => {
  const { server, address } = await tinyServer(t)
  await server.ready
  const ask = async (path: string): Promise<never> => (await (await fetch(new URL(path, address))).json()) as never
  const body = { ...usual, prompt: 'a red apple', seed: 7, cfg_scale: 3, batch_size: 2, n_iter: 1 }
  const drawn = (await (await post(address, '/sdapi/v1/txt2img', body)).json()) as Answer
  t.equal(drawn.images.length, 2)
  t.match(await sharp(Buffer.from(drawn.images[0], 'base64')).metadata(), { format: 'png', width: tinySide })
  t.match(drawn.parameters, { steps: 20 })
  const info = JSON.parse(drawn.info)
  t.match(info, { seed: 7, all_seeds: [7, 8], width: tinySide, cfg_scale: 3, sd_model_name: 'tiny' })
  t.match(info.infotexts[1], /^a red apple\nNegative prompt: blurry\nSampler: STAR, CFG scale: 3, Seed: 8, Size: 8x8, /)
  t.ok(info.ignored.includes('sampler_name'), 'what has no effect is named')
  t.notOk(info.ignored.includes('cfg_scale'))
  t.ok(info.ignored.includes('width'), 'a size that the model does not draw')
  const wide = (await (
    await post(address, '/sdapi/v1/txt2img', { ...body, batch_size: 1, width: 12, height: 6 })
  ).json()) as Answer
  t.match(await sharp(Buffer.from(wide.images[0], 'base64')).metadata(), { width: 12, height: 6 })
  t.match(JSON.parse(wide.info), { width: 12, height: 6 })
  t.notOk(JSON.parse(wide.info).ignored.includes('height'))

  const text = await (
    await post(address, '/sdapi/v1/png-info', { image: `data:image/png;base64,${drawn.images[1]}` })
  ).json()
  t.match(text, { info: 'a red apple', parameters: { seed: 8, cfg: 3 } })
  t.equal((await post(address, '/sdapi/v1/png-info', { image: 'AAAA' })).status, 400)

  t.match(await ask('/sdapi/v1/sd-models'), [{ title: 'tiny', model_name: 'tiny', hash: /^[0-9a-f]{10}$/ }])
  t.same(await ask('/sdapi/v1/samplers'), [{ name: 'STAR', aliases: ['star'], options: {} }])
  t.match(await ask('/sdapi/v1/options'), { sd_model_checkpoint: 'tiny' })
  t.equal((await post(address, '/sdapi/v1/options', { sd_model_checkpoint: 'tiny [0123456789]' })).status, 200)
  t.equal((await post(address, '/sdapi/v1/options', { sd_model_checkpoint: 'other' })).status, 404)
  const other = { ...body, override_settings: { sd_model_checkpoint: 'other' } }
  t.equal((await post(address, '/sdapi/v1/txt2img', other)).status, 404)
  t.equal((await post(address, '/sdapi/v1/txt2img', { ...body, batch_size: 8, n_iter: 8 })).status, 400)
  t.match(await ask('/sdapi/v1/progress'), { progress: 0, current_image: null, state: { job_count: 0 } })
})

t.test('progress with the picture so far, and an interrupt', async (t) => {
  const { server, address } = await tinyServer(t, { batch: 1 })
  await server.ready
  const drawing = post(address, '/sdapi/v1/txt2img', { ...usual, prompt: 'a', seed: 1, batch_size: 32 })
  interface Progress {
    progress: number
    current_image: string | null
    state: { sampling_steps: number; job: string }
  }
  let seen: Progress | null = null
  await until('a picture on the way', async () => {
    const progress = (await (await fetch(new URL('/sdapi/v1/progress', address))).json()) as Progress
    if (progress.current_image) seen = progress
    return seen !== null
  })
  t.match(seen, { state: { job: 'txt2img', sampling_steps: tinyScales } })
  t.ok(seen!.progress > 0 && seen!.progress < 1, String(seen!.progress))
  t.match(await sharp(Buffer.from(seen!.current_image!, 'base64')).metadata(), { width: tinySide })
  t.same(await (await post(address, '/sdapi/v1/interrupt', {})).json(), {})
  const answer = await drawing
  t.equal(answer.status, 200)
  t.ok(((await answer.json()) as Answer).images.length < 32, 'what was done comes back')
})
