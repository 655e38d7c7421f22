/**
 * Draws one picture with a published model's sizes and random weights, and tells the time of each scale and the memory taken.
 *
 *     node dist/scripts/dry-run.js [--depth 16] [--side 256] [--dtype f32] [--scales N] [--cfg 4] [--clip]
 *
 * --scales stops after the first N scales and does not decode; --clip encodes the prompt by a text encoder of the size of
 * Stable Diffusion 2.1's.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { StarError } from '../lib/index.js'
import { publishedScales, StarTransformer, starConfig, type TextInput } from '../lib/models/star/index.js'
import { ClipTextModel } from '../lib/models/text/clip.js'
import { Tokenizer } from '../lib/models/tokenizer/index.js'
import { native } from '../lib/native/index.js'
import { buildIn, type WeightType, weightTypes } from '../lib/nn/index.js'
import { generate } from '../lib/sampling/index.js'
import { keep, noGrad, Random, scope, Tensor } from '../lib/tensor/index.js'

const { values } = parseArgs({
  options: {
    depth: { type: 'string', default: '16' },
    side: { type: 'string', default: '256' },
    dtype: { type: 'string', default: 'f32' },
    scales: { type: 'string' },
    cfg: { type: 'string', default: '4' },
    clip: { type: 'boolean', default: false },
  },
})
const depth = Number(values.depth)
const dtype = values.dtype as WeightType
const patchNums = publishedScales.get(Number(values.side))
if (!patchNums || !weightTypes.includes(dtype))
  throw new StarError('ERR_ARGUMENT', 'usage: dry-run --depth N --side 256|512|1024 --dtype f32|f16|bf16')
const stopAfter = values.scales === undefined ? patchNums.length : Number(values.scales)

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`
/** The most memory that the process had at once, and what tensors took at most since the last call. */
function memory(): string {
  const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) * 1024
  const { peakBytes, liveBytes } = native.memory('cpu')
  native.resetPeakMemory('cpu')
  return `tensors ${gigabytes(liveBytes)}, at most ${gigabytes(peakBytes)}; process at most ${gigabytes(peak)}`
}

const start = performance.now()
let last = start
function tell(what: string): void {
  const now = performance.now()
  console.log(`${what.padEnd(28)} ${((now - last) / 1000).toFixed(1).padStart(7)} s   ${memory()}`)
  last = now
}

const random = new Random(1)
const textWidth = 1024
const tokens = 77

/** States of a prompt and of the empty one. */
function encode(): TextInput {
  const states = noGrad(() =>
    scope(() => {
      if (!values.clip) return random.normal([2, tokens, textWidth])
      using clip = scope(
        () =>
          new ClipTextModel(
            {
              model_type: 'clip_text_model',
              vocab_size: 49408,
              hidden_size: textWidth,
              intermediate_size: 4 * textWidth,
              num_hidden_layers: 23,
              num_attention_heads: 16,
              max_position_embeddings: tokens,
              hidden_act: 'gelu',
              layer_norm_eps: 1e-5,
            },
            { init: random, std: 0.02, device: 'cpu' },
          ),
      ).setTrainable(false)
      tell('text encoder made')
      return clip.forward(
        Tensor.from(
          Int32Array.from({ length: 2 * tokens }, (_, i) => (i * 31) % 49408),
          [2, tokens],
        ),
      )
    }),
  )
  return { states: keep(states), pooled: keep(random.normal([2, textWidth])), mask: null }
}

const text = encode()
native.trimMemory('cpu')
tell('prompts encoded')
using tokenizer = scope(() => new Tokenizer({ patchNums: [...patchNums] }, { init: random })).setTrainable(false)
tell('tokenizer made')
using transformer = buildIn(dtype, () =>
  scope(
    () =>
      new StarTransformer(
        starConfig({ depth, width: 64 * depth, heads: depth, patchNums: [...patchNums], textWidth }),
        {
          init: random,
        },
      ),
  ),
).setTrainable(false)
native.trimMemory('cpu')
tell(`transformer of ${(transformer.parameterCount() / 1e6).toFixed(0)} M made`)

const abort = new AbortController()
try {
  using fHat = await generate({
    transformer,
    quantizer: tokenizer.quantizer,
    text,
    empty: 1,
    settings: { cfg: Number(values.cfg) },
    signal: abort.signal,
    onScale: ({ scaleIndex }) => {
      const side = patchNums[scaleIndex]
      tell(`scale ${scaleIndex + 1}, ${side} × ${side}`)
      if (scaleIndex + 1 === stopAfter && stopAfter < patchNums.length) abort.abort()
    },
  })
  using image = noGrad(() => tokenizer.decode(fHat))
  const pixels = image.floats()
  tell('decoded')
  const wrong = pixels.filter((v) => !Number.isFinite(v)).length
  console.log(`picture ${image.shape.join(' × ')}, ${wrong} values that are no number`)
} catch (error) {
  if (!(error instanceof StarError) || error.code !== 'ERR_ABORTED') throw error
}
console.log(`in all ${((performance.now() - start) / 1000).toFixed(1)} s`)
