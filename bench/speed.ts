/**
 * What the presets of `speed` save: tokens and time of each scale, time of the transformer and of whole pictures, by models of the
 * published sizes with random weights. The presets draw side by side, scale by scale, so that what else the machine does meets all
 * of them.
 *
 *     npm run bench:speed -- [--size 1024] [--depth 16] [--blocks 16] [--device cpu]
 *
 * With fewer blocks than the depth only so many are computed, and no picture is decoded: blocks are alike, so what the presets save
 * shows in a part of the time.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { parseArgs } from 'node:util'
import { publishedScales, StarTransformer } from '../lib/models/star/index.js'
import { Tokenizer } from '../lib/models/tokenizer/index.js'
import { native, StarError } from '../lib/native/index.js'
import { generate, type SpeedName, type SpeedSettings, speedNames, speedsOf } from '../lib/sampling/index.js'
import { noGrad, Random, scope, setDefaultDevice, type Tensor } from '../lib/tensor/index.js'

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '1024' },
    depth: { type: 'string', default: '16' },
    blocks: { type: 'string' },
    device: { type: 'string', default: 'cpu' },
  },
})
const [size, depth, blocks] = [values.size, values.depth, values.blocks ?? values.depth].map(Number)
const { device } = values
setDefaultDevice(device)

const sides = publishedScales.get(size)
if (!sides)
  throw new StarError('ERR_ARGUMENT', `--size is ${values.size}, expected one of ${[...publishedScales.keys()]}`)
const patchNums = [...sides]
const presets = speedsOf(patchNums.length)
const random = new Random(1)
const init = { init: random, device }
const transformer = new StarTransformer({ depth: blocks, width: 64 * depth, heads: depth, patchNums }, init)
const tokenizer = new Tokenizer({ patchNums }, init)
const text = {
  states: random.normal([2, 77, 1024], { device }),
  pooled: random.normal([2, 1024], { device }),
  mask: null,
}

interface Times {
  /** Milliseconds of the transformer's blocks and head at each scale. */
  transformer: number[]
  /** Milliseconds of all of a scale, and when the one at work began. */
  scale: number[]
  begin: number
}

const running = new AsyncLocalStorage<Times>()
const elapsed = <T>(run: () => T, note: (ms: number) => void): T => {
  const begin = performance.now()
  const result = run()
  native.synchronize(device)
  note(performance.now() - begin)
  return result
}
const add = (list: number[], k: number, ms: number): void => {
  list[k] = (list[k] ?? 0) + ms
}

// The two ways into the transformer, and the one in which a scale ends.
const { runScale, logits } = transformer
transformer.runScale = (scale, ...rest) => {
  const times = running.getStore()!
  times.begin = performance.now()
  return elapsed(
    () => runScale.call(transformer, scale, ...rest),
    (ms) => add(times.transformer, scale, ms),
  )
}
transformer.logits = (x) => {
  const { transformer: list } = running.getStore()!
  return elapsed(
    () => logits.call(transformer, x),
    (ms) => add(list, list.length - 1, ms),
  )
}
const { quantizer } = tokenizer
const { nextInput } = quantizer
quantizer.nextInput = (...args) => {
  const { scale, begin } = running.getStore()!
  const step = elapsed(
    () => nextInput.apply(quantizer, args),
    () => {},
  )
  add(scale, args[0], performance.now() - begin)
  return step
}

/** Tokens that a block computes at a scale, of both halves. */
function tokensAt(k: number, speed: SpeedSettings | null): number {
  const n = patchNums[k] ** 2
  const halves = speed?.unguidedFrom !== undefined && k >= speed.unguidedFrom ? 1 : 2
  const share = speed?.prune && k > speed.prune.from ? (speed.prune.keep[k - speed.prune.from - 1] ?? 1) : 1
  return halves * Math.round(n * share)
}

async function drawn(speed: SpeedName): Promise<{ times: Times; fHat: Tensor }> {
  const times: Times = { transformer: [], scale: [], begin: 0 }
  const fHat = await running.run(times, () =>
    generate({
      transformer,
      quantizer,
      text,
      prompts: [0],
      empty: 1,
      independent: true,
      settings: { cfg: 4, topK: 600, topP: 0.8, seed: 1, speed },
    }),
  )
  return { times, fHat }
}

const results = await Promise.all(speedNames.map(drawn))
let decoding = 0
if (blocks === depth)
  elapsed(
    () => noGrad(() => scope(() => void tokenizer.decode(results[0].fHat))),
    (ms) => {
      decoding = ms
    },
  )

const total = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0)
const seconds = (ms: number): string => (ms / 1000).toFixed(2)
const row = (cells: readonly (string | number)[]): void => console.log(`| ${cells.join(' | ')} |`)
const pairs = (f: (name: SpeedName, i: number) => string | number): (string | number)[] => speedNames.map(f)

console.log(
  `${size}², depth ${depth}${blocks < depth ? `, ${blocks} blocks of it` : ''}, ${device}: tokens a block computes, and seconds of the transformer`,
)
row(['scale', ...pairs((name) => `${name}: tokens`), ...pairs((name) => `${name}: s`)])
row(['---', ...speedNames.flatMap(() => ['---:', '---:'])])
for (const [k, side] of patchNums.entries())
  row([
    `${side}×${side}`,
    ...pairs((name) => tokensAt(k, presets[name])),
    ...pairs((_, i) => seconds(results[i].times.transformer[k])),
  ])
const sums = results.map(({ times }) => total(times.transformer))
row([
  'all',
  ...pairs((name) => total(patchNums.map((_, k) => tokensAt(k, presets[name])))),
  ...pairs((_, i) => seconds(sums[i])),
])
const pictures = results.map(({ times }) => total(times.scale) + decoding)
console.log()
row(['', ...speedNames])
row(['---', ...speedNames.map(() => '---:')])
row(['transformer, s', ...sums.map(seconds)])
row(['times faster', ...sums.map((sum) => (sums[0] / sum).toFixed(2))])
if (blocks === depth) {
  row(['whole picture, s', ...pictures.map(seconds)])
  row(['times faster', ...pictures.map((sum) => (pictures[0] / sum).toFixed(2))])
  console.log(`of a whole picture ${seconds(decoding)} s are the decoder's`)
}
for (const { fHat } of results) fHat.dispose()
