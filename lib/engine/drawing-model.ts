/** What draws pictures: a loaded model in this thread, or one in a thread of its own. */
import type { ModelType } from '../models/star/index.js'
import type { GivenPicture, PictureSize, SamplingSettings } from '../sampling/index.js'
import type { LoraInfo, LoraMode } from './loras.js'
import type { ModelInfo } from './model-info.js'

/** A model, and where and how it runs. */
export interface StarInfo extends ModelInfo {
  /** The device that its weights are on. */
  device: string
  /** Type that the transformer draws in. */
  dtype: ModelType
  /** SHA-256 of the stored weights, and of the LoRAs at work, in hexadecimal. */
  weights: string
  /** The same without LoRAs. */
  baseWeights: string
  /** LoRAs that it was loaded with. */
  lora: readonly LoraInfo[]
  /** How they are put to use. */
  loraMode: LoraMode
}

export interface Drawing {
  prompt: string
  /** What the prompt stands for, where that is several with weights. */
  parts?: readonly { prompt: string; weight: number }[]
  /** The prompt that it is guided away from; default: the empty one. */
  negative?: string
  seed: number
  /** The picture that it changes; all or none of those drawn together have one. */
  given?: GivenPicture
}

export interface DrawnScale {
  scaleIndex: number
  /** Number of scales. */
  scales: number
  /** R, G, B bytes of all pictures as they look so far. To be called until `onScale`'s promise is done. */
  preview(): Promise<Uint8Array[]>
}

export interface DrawOptions {
  settings: SamplingSettings
  /** Of all pictures; default: the model's square. */
  size?: PictureSize
  /** Strengths of the model's LoRAs, in their order; default: as they were loaded. */
  lora?: readonly number[]
  /** Called after each scale and waited for. */
  onScale?: (event: DrawnScale) => Promise<void>
  /** Aborting ends the drawing with ERR_ABORTED after the current scale. */
  signal: AbortSignal
}

/** Which picture is read with which prompts, and where attention counts: `attentionMaps`. */
export interface AttendRequest {
  prompts: readonly string[]
  /** R, G, B bytes of a picture of this size. */
  pixels: Uint8Array
  /** Default: the model's square. */
  size?: PictureSize
  scales?: readonly number[]
  blocks?: readonly number[]
  /** Strengths of the model's LoRAs, in their order; default: as they were loaded. */
  lora?: readonly number[]
}

/** How much each position of a picture's latent attends to the words of a prompt. */
export interface WordMaps {
  /** Of the latent. */
  rows: number
  cols: number
  /** In the order of the prompt: the sum over a word's tokens, row by row. */
  words: { word: string; map: Float32Array }[]
}

export interface DrawingModel {
  readonly info: StarInfo
  /** Draws pictures together, one call at a time. @returns R, G, B bytes of each */
  draw(drawings: readonly Drawing[], options: DrawOptions): Promise<Uint8Array[]>
  /** Reads a picture with prompts, at any time, beside a drawing too. @returns the maps of each prompt */
  attend(request: AttendRequest): Promise<WordMaps[]>
  /** Frees the weights. Not to be called while `draw` or `attend` is at work. */
  dispose(): Promise<void>
}
