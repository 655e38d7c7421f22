/**
 * Writes the tables of docs/distributed.md: what `npm run bench:dist` measured, and how the runs of the reference implementation
 * would scale, by a model whose assumptions the page lists. Times in milliseconds.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Measured } from '../bench/overlap.js'
import { planBuckets, shardAlignment, standardSizes } from '../lib/distributed/buckets.js'
import { levels, type StarConfig, tokenCount } from '../lib/models/star/index.js'
import { elementBytes } from '../lib/native/dtype.js'
import { writeFileAtomic } from '../lib/native/files.js'
import { packageRoot } from '../lib/native/index.js'
import { hiddenWidth } from '../lib/plan/index.js'
import type { TransformerRunConfig } from '../lib/train/index.js'
import { modelOfRun } from '../lib/train/kinds/transformer/plan.js'
import { readRunConfig } from '../lib/train/run-config.js'
import { withTables } from './config-tables.js'

export const scalingPage = join(packageRoot, 'docs', 'distributed.md')

/** What is taken of an H100 SXM: 16-bit operations a second, bytes a second of an optimizer. */
const h100 = { flops: 0.4 * 989e12, memory: 0.7 * 3.35e12 }
/** GPUs of a machine; bytes a second of a GPU inside it; seconds of a message inside and between machines. */
const machine = { gpus: 8, inside: 360e9, latencyInside: 3e-6, latencyBetween: 10e-6 }
/** `between`: bytes a second that each GPU sends to other machines. */
const networks = [
  { name: '400 Gbit/s a GPU', between: 0.9 * 50e9 },
  { name: '100 Gbit/s a machine', between: (0.9 * 12.5e9) / 8 },
]
const gpuCounts = [8, 16, 32, 64, 128, 256, 512, 1024]
/** `images`: pictures a GPU where the batch grows with the number of GPUs. */
const runs = [
  { name: 'd16_256', images: 32, recompute: false },
  { name: 'd30_512', images: 8, recompute: true },
  { name: 'd30_1024', images: 1, recompute: true },
]
/** AdamW reads gradient, master and both averages, writes weight, master and both averages: 2 + 3·4 and 2 + 3·4 bytes. */
const optimizerBytes = 28
const textTokens = 77

/** When the last exchange ends: each begins when its bucket is filled and the one before has ended. */
export function exchangeEnd(
  buckets: readonly { bytes: number; readyMs: number }[],
  cost: (bytes: number) => number,
): number {
  return buckets.reduce((free, { bytes, readyMs }) => Math.max(free, readyMs) + cost(bytes), 0)
}

/**
 * An all-reduce over n GPUs, G on each of M machines: summed in every machine, exchanged by G rings between machines, spread
 * in the machine (Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009):
 *
 *     2·(G − 1)/G·bytes/inside + 2·(M − 1)/M·bytes/(G·between) + 2·(G − 1)·αᵢ + 2·(M − 1)·αₘ
 */
function allReduceMs(bytes: number, gpus: number, between: number): number {
  const g = Math.min(gpus, machine.gpus)
  const m = gpus / g
  const local = (2 * (g - 1) * bytes) / (g * machine.inside) + 2 * (g - 1) * machine.latencyInside
  const far = (2 * (m - 1) * bytes) / (m * g * between) + 2 * (m - 1) * machine.latencyBetween
  return 1000 * (local + far)
}

/** Parameters whose gradients are complete together, in the order of forward, and operations of one picture, forward. */
interface Part {
  count: number
  flop: number
  inBlock: boolean
}

/** @param tokens that are trained on: dropped ones are the last */
export function partsOf(config: StarConfig, tokens: number): Part[] {
  const { width: w, textWidth, latentChannels, vocabSize, depth, patchNums, heads, attnL2Norm } = config
  const last = (end: number): number => Math.min(end, tokens)
  const pairs = levels(patchNums).reduce((sum, { begin, end }) => sum + Math.max(0, last(end) - begin) * last(end), 0)
  const extra = 2 * w + (attnL2Norm ? heads : 0)
  const linear = (inputs: number, outputs: number, met = tokens, bias = outputs, attention = 0): Part => ({
    count: inputs * outputs + bias,
    flop: 2 * met * inputs * outputs + 4 * w * attention,
    inBlock: true,
  })
  const block = [
    linear(w, 3 * w, tokens, extra, pairs),
    linear(w, w),
    linear(textWidth, 2 * w, textTokens, extra),
    linear(w, w, tokens, 0, tokens * textTokens),
    linear(w, w),
    linear(w, hiddenWidth(config)),
    linear(hiddenWidth(config), w),
  ]
  const start = { count: (patchNums[0] ** 2 + patchNums.length) * w, flop: 0 }
  const outside = [linear(textWidth, w, 1), start, linear(latentChannels, w), linear(w, vocabSize)]
  const [text, embeddings, input, head] = outside.map((part) => ({ ...part, inBlock: false }))
  return [text, embeddings, input, ...Array.from({ length: depth }, () => block).flat(), head]
}

interface Step {
  computeMs: number
  exchangeMs: number
  /** Of the exchange, what backward does not hide. */
  exposedMs: number
  efficiency: number
  shardedEfficiency: number
}

/** A step of `images` pictures a GPU. Backward takes twice the operations of forward, and forward's again where recomputed. */
function stepOf(parts: readonly Part[], images: number, recompute: boolean, gpus: number, between: number): Step {
  const ms = (flop: number): number => (1000 * flop * images) / h100.flops
  const total = (figure: (part: Part) => number): number => parts.reduce((sum, part) => sum + figure(part), 0)
  const contents = parts.map(({ count }) => ({ count, dtype: 'bf16', stored: 'bf16' }) as const)
  const filled: number[] = []
  let backwardMs = 0
  for (const [i, { flop, inBlock }] of [...parts.entries()].reverse()) {
    backwardMs += ms((recompute && inBlock ? 3 : 2) * flop)
    filled[i] = backwardMs
  }
  const buckets = planBuckets(contents, { ...standardSizes, multiple: shardAlignment * gpus }).map(
    ({ places, length }) => ({
      bytes: elementBytes.bf16 * length,
      readyMs: Math.max(...places.map(({ index }) => filled[index])),
    }),
  )
  const cost = (bytes: number): number => allReduceMs(bytes, gpus, between)
  const optimizerMs = (1000 * optimizerBytes * total(({ count }) => count)) / h100.memory
  const computeMs = ms(total(({ flop }) => flop)) + backwardMs + optimizerMs
  const exchangeMs = buckets.reduce((sum, { bytes }) => sum + cost(bytes), 0)
  const exposedMs = exchangeEnd(buckets, cost) - backwardMs
  // A reduce-scatter and an all-gather are half an all-reduce each; nothing hides the second.
  const half = exchangeEnd(buckets, (bytes) => cost(bytes) / 2) - backwardMs
  const sharded = computeMs - optimizerMs + half + optimizerMs / gpus + exchangeMs / 2
  const [efficiency, shardedEfficiency] = [computeMs + exposedMs, sharded].map((time) => computeMs / time)
  return { computeMs, exchangeMs, exposedMs, efficiency, shardedEfficiency }
}

const number = (value: number): string => value.toFixed(value < 10 ? 1 : 0)
const ms = (value: number): string => `${value.toFixed(0)} ms`
const percent = (value: number): string => `${(100 * value).toFixed(0)} %`
const table = (header: readonly string[], rows: readonly (readonly (string | number)[])[]): string =>
  [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')

/** The tables of all runs: with their own batch, as far as GPUs can share it, or with one that grows. */
const scalingTables = (grows: boolean): string =>
  runs
    .map(({ name, images: each, recompute }) => {
      const run = readRunConfig(join(packageRoot, 'configs', `config_${name}.json`)).config as TransformerRunConfig
      const { config } = modelOfRun(run)
      const { batchSize } = run.optimizer
      const parts = partsOf(
        config,
        Math.min(tokenCount(config.patchNums), run.tokenDrop?.keep ?? Number.POSITIVE_INFINITY),
      )
      const rows = gpuCounts.flatMap((gpus) => {
        if (!grows && batchSize % gpus !== 0) return []
        const images = grows ? each : batchSize / gpus
        const steps = networks.map(({ between }) => stepOf(parts, images, recompute, gpus, between))
        const cells = steps.flatMap(({ exchangeMs, exposedMs, efficiency, shardedEfficiency }) => [
          `${number(exchangeMs)}, ${number(exposedMs)}`,
          percent(efficiency),
          percent(shardedEfficiency),
        ])
        return [[gpus, images, number(steps[0].computeMs), ...cells]]
      })
      const columns = networks.flatMap(({ name }) => [`exchange, left of it, ms: ${name}`, 'efficiency', 'sharded'])
      return `**${name}**\n\n${table(['GPUs', 'pictures a GPU', 'computing, ms', ...columns], rows)}`
    })
    .join('\n\n')

/** What `npm run bench:dist -- --json` measured, the fastest link first. */
export function measurements(): Measured[] {
  const folder = join(packageRoot, 'bench', 'measured')
  return readdirSync(folder)
    .map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Measured)
    .sort((a, b) => a.exchangeMs - b.exchangeMs)
}

/** What the model says of a measured exchange: of each bucket's cost its share of the bytes, left behind backward. */
export const modelledExposure = ({ buckets, bytes, backwardMs, exchangeMs }: Measured): number =>
  exchangeEnd(buckets, (part) => (part / bytes) * exchangeMs) - backwardMs

function measuredTable(): string {
  const rows = measurements().map((measured) => {
    const { rate, bytes, backwardMs, exchangeMs, hidden, hiddenBytes, exposedMs, longerMs } = measured
    const gigabits = (bytes * 8) / exchangeMs / 1e6
    const link = `${rate.replace(/(\w)bit$/, (_, unit) => ` ${unit.toUpperCase()}bit/s`)} (${gigabits.toFixed(2)} Gbit/s reached)`
    const left = [ms(exposedMs), ms(modelledExposure(measured))]
    return [link, ms(backwardMs), ms(exchangeMs), percent(hidden), percent(hiddenBytes / bytes), ...left, ms(longerMs)]
  })
  const hidden = ['hidden behind backward: time', 'bytes']
  const left = ['left after backward', 'by the model below']
  return table(['link', 'backward', 'exchange alone', ...hidden, ...left, 'step is longer by'], rows)
}

/** The page with the tables as they are now. */
export const scalingText = (): string =>
  withTables(readFileSync(scalingPage, 'utf8'), {
    measured: measuredTable(),
    'batch of the run': scalingTables(false),
    'batch grows': scalingTables(true),
  })

if (process.argv[1] === import.meta.filename) writeFileAtomic(scalingPage, Buffer.from(scalingText()))
