/** What a model's thread and its owner say to each other. */
import type { HubProgress } from '../models/local.js'
import { type ErrorCode, StarError } from '../native/error.js'
import type { PictureSize, SamplingSettings } from '../sampling/index.js'
import type { AttendRequest, Drawing, StarInfo, WordMaps } from './drawing-model.js'
import type { LoadModelOptions } from './loaded-model.js'

/** What the thread is started with. */
export interface ThreadInput {
  nameOrPath: string
  options: Omit<LoadModelOptions, 'onDownload' | 'onNotice' | 'signal'>
}

/** To the thread. After each scale of a drawing that is watched it waits for `continue`, and makes previews until then. */
export type Request =
  | {
      kind: 'draw'
      drawings: readonly Drawing[]
      settings: SamplingSettings
      size: PictureSize | undefined
      lora: readonly number[] | undefined
      watched: boolean
    }
  | { kind: 'attend'; id: number; request: AttendRequest }
  | { kind: 'preview' }
  | { kind: 'continue' }
  | { kind: 'abort' }
  | { kind: 'dispose' }

/** From the thread. The buffers of pixels are transferred, not copied. */
export type Message =
  | { kind: 'ready'; info: StarInfo }
  | { kind: 'download'; progress: HubProgress }
  | { kind: 'notice'; message: string; about: 'device' | 'lora' }
  | { kind: 'scale'; scaleIndex: number; scales: number }
  | { kind: 'preview'; pixels: Uint8Array[] }
  | { kind: 'previewFailed'; error: SentError }
  /** Null: the pixels are those of the last preview. */
  | { kind: 'drawn'; pixels: Uint8Array[] | null }
  | { kind: 'failed'; error: SentError }
  | { kind: 'attended'; id: number; result: WordMaps[] | SentError }

/** An error as it crosses: its class would be lost. */
export interface SentError {
  code: ErrorCode | null
  name: string
  message: string
  stack: string | undefined
}

export function sentError(error: unknown): SentError {
  if (!(error instanceof Error)) return { code: null, name: 'Error', message: String(error), stack: undefined }
  const { name, message, stack } = error
  return { code: error instanceof StarError ? error.code : null, name, message, stack }
}

export function receivedError({ code, name, message, stack }: SentError): Error {
  const error = code ? new StarError(code, message) : Object.assign(new Error(message), { name })
  if (stack) error.stack = stack
  return error
}
