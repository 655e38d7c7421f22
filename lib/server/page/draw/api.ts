/** The server as the page speaks to it: the same API that other clients use. */

export interface Model {
  id: string
  source: string
  state: 'unloaded' | 'loading' | 'ready'
  image_size: number | null
  /** WIDTHxHEIGHT to choose from. */
  sizes: string[]
  /** To choose from, with the strength that each has where nothing is chosen. */
  loras: { name: string; strength: number; source: string }[]
  defaults: { cfg: number; top_k: number; top_p: number; speed: Speed | null } | null
  about: string
  examples: string[]
  styles: string[]
}

/** In pixels. */
export interface Size {
  width: number
  height: number
}

export const sizeText = ({ width, height }: Size): string => `${width}x${height}`

/** What is left out to draw faster. */
export const speeds = ['full', 'fast', 'turbo'] as const
export type Speed = (typeof speeds)[number]

/** A LoRA at work. */
export interface ChosenLora {
  /** In the API; files do not say it. */
  name?: string
  /** As the server was given it, which is also what files say. */
  path: string
  strength: number
}

/** What is drawn of a picture that is there: a painted part, or what words change. */
export type Change = { image: Blob } & (PaintedChange | WordChange)

export interface PaintedChange {
  /** A PNG of the picture's size, transparent where it is drawn. */
  mask: Blob
}

/** Its prompt is what the picture is to show. */
export interface WordChange {
  /** What the picture shows. */
  from: string
  /** Share of the picture that changes. */
  share: number
  /** How freely that part is drawn. */
  strength: number
}

/** What one request asks for. */
export interface Drawing {
  model: string
  prompt: string
  count: number
  seed: number
  /** Where it is not the model's own. */
  size?: Size
  /** Where the model has some to choose. */
  lora?: ChosenLora[]
  cfg: number
  topK: number
  topP: number
  speed: Speed
  /** A picture is changed, in place of a new one. */
  change?: Change
}

/** What a picture was made with, as its file says it. */
export interface Settings {
  prompt: string
  model: string
  seed: number
  size?: Size
  lora?: ChosenLora[]
  cfg: number
  topK: number
  topP: number
  /** A preset; pictures of programs may name what exactly was left out. */
  speed?: Speed | object
}

export interface Hooks {
  /** Requests that come before this one. */
  onQueue(ahead: number): void
  onStart(): void
  /** Something has to be waited for before it is tried again. */
  onWait(text: string): void
  /** A picture, and the share of its scales that are drawn: 1 where it is done. */
  onPicture(index: number, picture: Blob, share: number): void
}

export class ApiError extends Error {}

interface Refusal {
  error?: { message?: string; code?: string }
}

async function refused(response: Response): Promise<{ message: string; code: string }> {
  const body = (await response.json().catch(() => ({}))) as Refusal
  return { message: body.error?.message ?? `the server answers with ${response.status}`, code: body.error?.code ?? '' }
}

async function ask(path: string, init?: RequestInit): Promise<Response> {
  let response: Response
  try {
    response = await fetch(path, init)
  } catch (error) {
    if (init?.signal?.aborted) throw error
    throw new ApiError('The server does not answer. Is it still running?', { cause: error })
  }
  if (!response.ok) throw new ApiError((await refused(response)).message)
  return response
}

export const models = async (): Promise<Model[]> => ((await (await ask('/v1/models')).json()) as { data: Model[] }).data

/** @throws ApiError where the file is no picture of ours */
export const settingsOf = async (file: Blob): Promise<Settings> =>
  (await (
    await ask('/v1/images/settings', {
      method: 'POST',
      body: file,
      headers: { 'content-type': file.type || 'image/png' },
    })
  ).json()) as Settings

/** The picture in another format, with what it was made with. */
export const convert = async (file: Blob, format: string): Promise<Blob> =>
  format === 'png'
    ? file
    : (
        await ask(`/v1/images/convert?output_format=${format}`, {
          method: 'POST',
          body: file,
          headers: { 'content-type': file.type },
        })
      ).blob()

function blobOf(base64: string): Blob {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))
  return new Blob([bytes], { type: 'image/png' })
}

/** The data of server-sent events, one by one. */
async function* events(response: Response): AsyncGenerator<Record<string, unknown>> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    const parts = (rest + value).split('\n\n')
    rest = parts.pop()!
    for (const part of parts) {
      const data = part
        .split('\n')
        .filter((line) => line.startsWith('data: '))
        .map((line) => line.slice(6))
        .join('\n')
      if (data !== '') yield JSON.parse(data) as Record<string, unknown>
    }
  }
}

export const requestBody = ({ model, prompt, count, seed, size, lora, cfg, topK, topP, speed }: Drawing) => ({
  model,
  prompt,
  n: count,
  seed,
  size: size && sizeText(size),
  ...(lora && { lora: lora.map(({ name, path, strength }) => ({ name: name ?? path, strength })) }),
  cfg,
  top_k: topK,
  top_p: topP,
  speed,
})

/** What a change by words adds to a request. */
export const wordsOf = (change: Change): Partial<WordChange> =>
  'from' in change ? { from: change.from, share: change.share, strength: change.strength } : {}

/** Fields as forms hold them: lists as JSON, none for what is not given. */
export const formFields = (body: object): Record<string, string> =>
  Object.fromEntries(
    Object.entries(body).flatMap(([name, value]: [string, unknown]) =>
      value === undefined ? [] : [[name, typeof value === 'object' ? JSON.stringify(value) : String(value)]],
    ),
  )

/** Longest time in which a full queue or a loading model is waited for, in milliseconds. */
const patience = 120_000

/** Where a drawing is asked for, and how. */
function requestOf(drawing: Drawing): { path: string; init: RequestInit } {
  const body = { ...requestBody(drawing), stream: true, partial_images: 64, progress: true }
  const { change } = drawing
  if (!change) {
    const headers = { 'content-type': 'application/json' }
    return { path: '/v1/images/generations', init: { headers, body: JSON.stringify(body) } }
  }
  const form = new FormData()
  form.set('image', change.image, 'image')
  if ('mask' in change) form.set('mask', change.mask, 'mask.png')
  for (const [name, text] of Object.entries(formFields({ ...body, ...wordsOf(change) }))) form.set(name, text)
  return { path: '/v1/images/edits', init: { body: form } }
}

/** Draws, with the picture after each scale. @throws ApiError; DOMException where the signal fires */
export async function draw(drawing: Drawing, hooks: Hooks, signal: AbortSignal): Promise<void> {
  const response = await persistently(requestOf(drawing), hooks, signal)
  let done = 0
  for await (const event of events(response)) {
    const {
      type,
      b64_json: picture,
      image_index: index,
    } = event as { type: string; b64_json: string; image_index: number }
    if (event.error) throw new ApiError((event as Refusal).error?.message ?? 'the server failed')
    const [, what] = type.split('.')
    if (what === 'queued') hooks.onQueue(event.position as number)
    else if (what === 'in_progress') hooks.onStart()
    else if (what === 'partial_image') {
      const { scale_index: scale, scales } = event as { scale_index: number; scales: number }
      hooks.onPicture(index, blobOf(picture), (scale + 1) / scales)
    } else if (what === 'completed') {
      hooks.onPicture(index, blobOf(picture), 1)
      done++
    }
  }
  if (done < drawing.count) throw new ApiError('The server ended before the pictures were done.')
}

/** Asks again while the queue is full or the model is being loaded. */
async function persistently(
  { path, init }: ReturnType<typeof requestOf>,
  hooks: Hooks,
  signal: AbortSignal,
): Promise<Response> {
  for (const end = Date.now() + patience; ; ) {
    const response = await fetch(path, { ...init, method: 'POST', signal }).catch((error: unknown) => {
      if (signal.aborted) throw error
      throw new ApiError('The server does not answer. Is it still running?', { cause: error })
    })
    if (response.ok) return response
    const { message, code } = await refused(response)
    const passing = code === 'queue_full' || code === 'model_loading'
    if (!passing || Date.now() > end) throw new ApiError(message)
    hooks.onWait(code === 'queue_full' ? 'The queue is full; waiting for a place' : 'The model is being loaded')
    const seconds = Number(response.headers.get('retry-after') ?? 1)
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
    signal.throwIfAborted()
  }
}
