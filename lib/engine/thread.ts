/** The thread of a model: loads it, then answers the requests of its owner until it is told to free it. */
import { parentPort, workerData } from 'node:worker_threads'
import { StarError } from '../native/error.js'
import type { DrawnScale } from './drawing-model.js'
import { LoadedModel } from './loaded-model.js'
import { type Message, type Request, sentError, type ThreadInput } from './messages.js'

const port = parentPort!
const { nameOrPath, options } = workerData as ThreadInput

const send = (message: Message, pixels: readonly Uint8Array[] = []): void =>
  port.postMessage(
    message,
    pixels.map(({ buffer }) => buffer as ArrayBuffer),
  )

/** Of the work at hand: loading at first, then each drawing. */
let controller = new AbortController()
let lastPreview: Uint8Array[] | null = null
let shown: { event: DrawnScale; done: () => void } | null = null

const show = (event: DrawnScale): Promise<void> =>
  new Promise((done) => {
    shown = { event, done }
    send({ kind: 'scale', scaleIndex: event.scaleIndex, scales: event.scales })
  })

function leave(): void {
  shown?.done()
  shown = null
}

async function draw(
  model: LoadedModel,
  { drawings, settings, size, lora, watched }: Request & { kind: 'draw' },
): Promise<void> {
  controller = new AbortController()
  const { signal } = controller
  lastPreview = null
  try {
    const pixels = await model.draw(drawings, { settings, size, lora, signal, onScale: watched ? show : undefined })
    if (pixels === lastPreview) send({ kind: 'drawn', pixels: null })
    else send({ kind: 'drawn', pixels }, pixels)
  } catch (error) {
    send({ kind: 'failed', error: sentError(error) })
  }
}

async function preview(): Promise<void> {
  try {
    if (!shown) throw new StarError('ERR_ABORTED', 'the drawing was aborted')
    const pixels = await shown.event.preview()
    lastPreview = pixels
    send({ kind: 'preview', pixels }, pixels)
  } catch (error) {
    send({ kind: 'previewFailed', error: sentError(error) })
  }
}

async function attend(model: LoadedModel, { id, request }: Request & { kind: 'attend' }): Promise<void> {
  send({ kind: 'attended', id, result: await model.attend(request).catch(sentError) })
}

async function answer(model: LoadedModel, request: Request): Promise<void> {
  if (request.kind === 'draw') await draw(model, request)
  else if (request.kind === 'attend') await attend(model, request)
  else if (request.kind === 'preview') await preview()
  else if (request.kind === 'continue') leave()
  else if (request.kind === 'abort') {
    controller.abort()
    leave()
  } else {
    await model.dispose()
    port.close()
  }
}

const early = ({ kind }: Request): void => {
  if (kind === 'abort') controller.abort()
}
port.on('message', early)
try {
  const model = await LoadedModel.load(nameOrPath, {
    ...options,
    signal: controller.signal,
    onDownload: (progress) => send({ kind: 'download', progress }),
    onNotice: (message, about) => send({ kind: 'notice', message, about }),
  })
  port.off('message', early)
  port.on('message', (request: Request) => void answer(model, request))
  send({ kind: 'ready', info: model.info })
} catch (error) {
  send({ kind: 'failed', error: sentError(error) })
  port.close()
}
