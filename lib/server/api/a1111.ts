/** The API of AUTOMATIC1111's web UI, for the programs that speak it: pictures, options, models, progress, interrupt, PNG texts. */
import { z } from 'zod'
import type { ImageSettings, PictureSize, StarImage } from '../../index.js'
import { refusal } from '../../picture-size.js'
import type { Job, JobRequest, Jobs } from '../draw/jobs.js'
import type { ModelPool, PooledModel } from '../draw/pool.js'
import { clientGone } from '../http/app.js'
import { HttpError } from '../http/errors.js'
import type { Operations } from '../http/operation.js'
import {
  type Img2Img,
  img2imgSchema,
  optionsSchema,
  pngInfoAnswer,
  pngInfoSchema,
  progressAnswer,
  progressQuery,
  type Txt2Img,
  txt2imgAnswer,
  txt2imgSchema,
} from './a1111-schemas.js'
import { type ChangeRequest, changing, paintedMask, sizeOf } from './given-files.js'
import { randomSeed } from './image-answers.js'
import { maxPictures } from './image-schemas.js'
import { pictureLimit, settingsOf } from './pictures.js'

const tag = 'AUTOMATIC1111'
const used = new Set(Object.keys(img2imgSchema.shape))
const sampler = 'STAR'

/** Names of models as its clients give them: with or without a hash in brackets. */
const modelName = (title: string | null | undefined): string | undefined => title?.replace(/ \[[0-9a-f]+\]$/, '')

/** The text that its web UI writes into pictures. */
function infoText(
  { prompt, negativePrompt, seed, cfg, topK, topP, speed, model, weights }: ImageSettings,
  { width, height }: { width: number; height: number },
): string {
  const fields = [
    `Sampler: ${sampler}`,
    `CFG scale: ${cfg}`,
    `Seed: ${seed}`,
    `Size: ${width}x${height}`,
    `Model hash: ${weights.slice(0, 10)}`,
    `Model: ${model}`,
    `Top k: ${topK}`,
    `Top p: ${topP}`,
    ...(typeof speed === 'string' ? [`Speed: ${speed}`] : []),
  ]
  const away = negativePrompt ? `\nNegative prompt: ${negativePrompt}` : ''
  return `${prompt}${away}\n${fields.join(', ')}`
}

export class A1111 {
  /** The model that requests without one are drawn with, as set by its options. */
  #chosen: PooledModel
  /** A client has asked for the picture at work since the last preview was made. */
  #previewWanted = false
  #preview: StarImage | null = null

  constructor(
    private readonly pool: ModelPool,
    private readonly jobs: Jobs,
  ) {
    this.#chosen = pool.models[0]
  }

  add(operations: Operations): void {
    operations.add(
      {
        method: 'POST',
        url: '/sdapi/v1/txt2img',
        tag,
        summary: 'Draws pictures of a prompt',
        description:
          'Fields that the model has no use for (steps, samplers, scripts) are taken and named in info.ignored.',
        body: txt2imgSchema,
        answer: txt2imgAnswer,
        statuses: [400, 401, 404, 413, 429, 503],
      },
      ({ body }, _, reply) => this.#draw(body, clientGone(reply), { sized: true }),
    )
    operations.add(
      {
        method: 'POST',
        url: '/sdapi/v1/img2img',
        tag,
        summary: 'Changes a picture, or with a mask a part of it',
        description:
          'Without a mask the coarser scales of the picture are kept, the more the lower denoising_strength is, and the answer has the ' +
          'size that txt2img would draw. With one, the answer is the picture with that part drawn anew.',
        body: img2imgSchema,
        answer: txt2imgAnswer,
        statuses: [400, 401, 404, 413, 429, 503],
        limit: Math.ceil((2 * pictureLimit * 4) / 3),
      },
      async ({ body }, _, reply) => {
        const draw = changing(body.prompt, await changeOf(body))
        const { init_images: _images, mask: _mask, ...rest } = body
        return this.#draw(body.include_init_images ? body : rest, clientGone(reply), { sized: !body.mask, draw })
      },
    )
    operations.add(
      { method: 'GET', url: '/sdapi/v1/options', tag, summary: 'The model in use', answer: optionsSchema },
      async () => ({
        sd_model_checkpoint: this.#chosen.id,
        sd_checkpoint_hash: this.#chosen.star?.info().weights ?? '',
        samples_format: 'png',
        CLIP_stop_at_last_layers: 1,
      }),
    )
    operations.add(
      {
        method: 'POST',
        url: '/sdapi/v1/options',
        tag,
        summary: 'Chooses the model (sd_model_checkpoint)',
        body: optionsSchema,
        statuses: [404],
      },
      async ({ body }) => {
        if (body.sd_model_checkpoint) this.#chosen = this.pool.find(modelName(body.sd_model_checkpoint))
        return null
      },
    )
    operations.add(
      { method: 'GET', url: '/sdapi/v1/sd-models', tag, summary: 'The models', answer: z.array(z.looseObject({})) },
      async () => this.pool.models.map((model) => described(model)),
    )
    operations.add(
      { method: 'GET', url: '/sdapi/v1/samplers', tag, summary: 'The one sampler', answer: z.array(z.looseObject({})) },
      async () => [{ name: sampler, aliases: [sampler.toLowerCase()], options: {} }],
    )
    operations.add(
      {
        method: 'GET',
        url: '/sdapi/v1/progress',
        tag,
        summary: 'How far the request at work is',
        query: progressQuery,
        answer: progressAnswer,
      },
      ({ query }) => this.#progress(query.skip_current_image === 'true' || query.skip_current_image === '1'),
    )
    operations.add(
      { method: 'POST', url: '/sdapi/v1/interrupt', tag, summary: 'Ends the requests of this API' },
      async () => {
        this.jobs.interrupt('a1111')
        return {}
      },
    )
    operations.add(
      {
        method: 'POST',
        url: '/sdapi/v1/png-info',
        tag,
        summary: 'How a picture was made',
        body: pngInfoSchema,
        answer: pngInfoAnswer,
        limit: Math.ceil((pictureLimit * 4) / 3),
      },
      ({ body }) => pngInfo(body.image),
    )
  }

  /** @param sized whether the request has a say in the size of its pictures */
  async #draw(body: Txt2Img, gone: AbortSignal, { sized, draw }: { sized: boolean; draw?: JobRequest['draw'] }) {
    const count = (body.batch_size ?? 1) * (body.n_iter ?? 1)
    if (count > maxPictures)
      throw new HttpError(400, `batch_size · n_iter is ${count}, expected at most ${maxPictures}`, {
        param: 'n_iter',
        code: 'invalid_value',
      })
    const chosen = modelName(body.override_settings?.sd_model_checkpoint)
    const model = chosen ? this.pool.find(chosen) : this.#chosen
    const size = sized ? sizeIn(body, model) : undefined
    const request: JobRequest = {
      model,
      prompt: body.prompt,
      api: 'a1111',
      draw,
      options: {
        count,
        seed: body.seed === undefined || body.seed === null || body.seed < 0 ? randomSeed() : body.seed,
        size,
        cfg: body.cfg_scale ?? undefined,
        topK: body.top_k ?? undefined,
        topP: body.top_p ?? undefined,
        speed: body.speed ?? body.override_settings?.speed ?? undefined,
        negativePrompt: body.negative_prompt?.trim() || undefined,
        onScale: async ({ preview }) => {
          if (!this.#previewWanted) return
          this.#previewWanted = false
          this.#preview = (await preview())[0]
        },
      },
      signal: gone,
    }
    const images: StarImage[] = []
    try {
      for await (const image of this.jobs.run(request)) images.push(image)
    } catch (error) {
      // An interrupt is answered with the pictures that are done.
      if (gone.aborted || !(error instanceof Error) || (error.cause as unknown) !== 'interrupted') throw error
    } finally {
      this.#preview = null
    }
    const files = body.send_images === false ? [] : await Promise.all(images.map((image) => image.toBuffer()))
    return {
      images: files.map((bytes) => bytes.toString('base64')),
      parameters: body,
      info: JSON.stringify(infoOf(body, images, size !== undefined)),
    }
  }

  async #progress(skipImage: boolean) {
    const own = [...this.jobs.all].filter(({ request }) => request.api === 'a1111')
    const job = own.find(({ state }) => state === 'drawing') ?? own.at(0)
    this.#previewWanted = job !== undefined && !skipImage
    const preview = job && !skipImage ? this.#preview : null
    return {
      progress: job ? share(job) : 0,
      eta_relative: job ? remaining(job) : 0,
      state: {
        skipped: false,
        interrupted: false,
        stopping_generation: false,
        job: job ? 'txt2img' : '',
        job_count: own.length,
        job_timestamp: job ? new Date(performance.timeOrigin + job.created).toISOString() : '0',
        job_no: 0,
        sampling_step: job?.scale ?? 0,
        sampling_steps: job?.scales ?? 0,
      },
      current_image: preview ? (await preview.toBuffer()).toString('base64') : null,
      textinfo: job?.state === 'waiting' ? 'waiting in the queue' : null,
    }
  }
}

const described = ({ id, source, info, star }: PooledModel) => {
  const hash = star?.info().weights ?? null
  return {
    title: id,
    model_name: id,
    hash: hash?.slice(0, 10) ?? null,
    sha256: hash,
    filename: info?.name ?? source,
    config: null,
  }
}

/** The part of a job that is done, from 0 to 1. */
function share({ done, drawn, request }: Job): number {
  return Math.min(1, Math.max(done, drawn) / (request.options.count ?? 1))
}

/** Seconds that are left, as many a picture as so far. */
function remaining(job: Job): number {
  const part = share(job)
  if (job.state === 'waiting' || part === 0) return 0
  return ((performance.now() - job.started) / 1000) * (1 / part - 1)
}

function infoOf(body: Txt2Img, images: readonly StarImage[], sized: boolean) {
  const first = images.at(0)
  return {
    prompt: body.prompt,
    all_prompts: images.map(({ settings }) => settings.prompt),
    negative_prompt: first?.settings.negativePrompt ?? '',
    seed: first?.settings.seed ?? -1,
    all_seeds: images.map(({ settings }) => settings.seed),
    width: first?.width ?? 0,
    height: first?.height ?? 0,
    sampler_name: sampler,
    cfg_scale: first?.settings.cfg ?? body.cfg_scale ?? 0,
    batch_size: images.length,
    sd_model_name: first?.settings.model ?? '',
    sd_model_hash: first?.settings.weights.slice(0, 10) ?? '',
    infotexts: images.map((image) => infoText(image.settings, image)),
    ignored: Object.keys(body).filter((name) => !used.has(name) || (!sized && (name === 'width' || name === 'height'))),
  }
}

/**
 * The size that a request asks for. Its clients send 512×512 where their users have said nothing, so one that the model does not draw
 * is no error.
 */
function sizeIn({ width, height }: Txt2Img, { info }: PooledModel): PictureSize | undefined {
  if (!width || !height || !info) return undefined
  return refusal({ width, height }, info) === null ? { width, height } : undefined
}

/** A file in base64, with or without the head of a data: URL. */
const bytesOf = (text: string): Buffer => Buffer.from(text.replace(/^data:[^,]*,/, ''), 'base64')

/** What a request changes. @throws 400 for files that are no pictures */
async function changeOf(body: Img2Img): Promise<ChangeRequest> {
  const image = bytesOf(body.init_images[0])
  const size = await sizeOf(image, 'init_images')
  const strength = body.denoising_strength ?? 0.75
  if (!body.mask) return { by: 'vary', image, strength }
  const mask = await paintedMask(bytesOf(body.mask), size, Boolean(body.inpainting_mask_invert))
  const kept = body.inpainting_fill === 1
  return { by: 'edit', image, mask, feather: body.mask_blur ?? undefined, strength: kept ? strength : 1 }
}

async function pngInfo(text: string) {
  const bytes = bytesOf(text)
  const settings = await settingsOf(bytes)
  return { info: settings.prompt, items: { ...settings }, parameters: { ...settings } }
}
