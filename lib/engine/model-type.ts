/** The type that a model draws in where its caller does not say. */
import type { ModelType } from '../models/star/index.js'
import { native } from '../native/index.js'
import type { HalfType, WeightType } from '../nn/index.js'

/** Where a model runs and what its file holds. */
export interface Placed {
  device: string
  /** Element types of the transformer's stored weights, as safetensors names them. */
  stored: ReadonlySet<string>
}

export interface DrawingTypes {
  /** What the pictures record. */
  dtype: ModelType
  /** Of what int8 leaves in floats. */
  half: HalfType
  decoderDtype: WeightType
}

const isGpu = (device: string): boolean => device !== 'cpu' && device !== 'simt'

/**
 * `auto` is int8 where the weights are stored so. On a GPU it is f16 where they are stored in f16, which that type holds exactly, else
 * bf16, which holds any weight's size. On the CPU it is bf16 where the processor multiplies bf16 faster than f32, else f32. That
 * pays for small models too: on one core with Zen 4 a picture of emoji-64 takes 0.8 of its time in f32, four pictures together 0.75,
 * the transformer of a d16 picture at 256² 0.6.
 */
export function drawingTypes(
  asked: { dtype?: ModelType | 'auto'; decoderDtype?: WeightType },
  { device, stored }: Placed,
): DrawingTypes {
  const gpu = isGpu(device)
  const half = gpu && stored.has('F16') ? 'f16' : 'bf16'
  const float = gpu ? half : device === 'cpu' && native.multipliesBf16() ? 'bf16' : 'f32'
  const { dtype = 'auto', decoderDtype } = asked
  return {
    dtype: dtype !== 'auto' ? dtype : stored.has('I8') ? 'int8' : float,
    half,
    decoderDtype: decoderDtype ?? (gpu ? 'f16' : 'f32'),
  }
}
