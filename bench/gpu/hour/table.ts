/** The table of bench/gpu/run, in Markdown. */
import { type CardName, cards } from '../../../lib/plan/index.js'
import { type Part, paperOf } from './parts.js'
import type { Counterparts, Kernels, Outcome, Results, Tested, Timed } from './results.js'

const head = ['part', 'outcome', 'ms', 'expected ms', 'measured / expected', 'GB at most, expected', 'PyTorch ms']

type Row = readonly (string | number | undefined)[]

const number = (x: number): string => (x < 10 ? x.toPrecision(3) : x.toFixed(1))
const ms = (x: number | null | undefined): string => (x === null || x === undefined ? '' : number(x))
const ratio = (measured?: number, expected?: number): string =>
  measured === undefined || expected === undefined ? '' : (measured / expected).toFixed(2)

function outcomeText(outcome: Outcome | undefined): string {
  if (!outcome) return 'not yet'
  if (outcome.state === 'done') return 'done'
  const reason = (outcome.reason ?? '').replaceAll('|', '\\|').replace(/\s+/g, ' ')
  return `**${outcome.state}**: ${reason}`
}

function testRow(name: string, outcome: Outcome | undefined): Row {
  const result = outcome?.result as Tested | undefined
  if (!result) return [name, outcomeText(outcome)]
  const { passed, skipped, failed } = result
  const told = `${passed} passed${skipped > 0 ? `, ${skipped} skipped` : ''}`
  return [name, failed.length > 0 ? `${told}, ${outcomeText(outcome)}` : told]
}

/** A workload, and its parts below it where it was timed. */
function timeRows(name: string, outcome: Outcome | undefined, paper: Outcome | undefined): Row[] {
  const measured = outcome?.result as Timed | undefined
  const expected = paper?.result as Timed | undefined
  const gb = [measured, expected].map((timed) => (timed ? (timed.peakBytes / 1e9).toFixed(2) : '–')).join(', ')
  const row = [name, outcomeText(outcome), ms(measured?.ms), ms(expected?.ms), ratio(measured?.ms, expected?.ms), gb]
  const parts = (measured ?? expected)?.parts ?? []
  const find = (timed: Timed | undefined, part: string) => timed?.parts.find((each) => each.part === part)?.ms
  return [
    row,
    ...parts.map(({ part }) => {
      const [a, b] = [find(measured, part), find(expected, part)]
      return [`&nbsp;&nbsp;${part}`, '', ms(a), ms(b), ratio(a, b)]
    }),
  ]
}

function kernelRows(outcome: Outcome | undefined, peer: Outcome | undefined): Row[] {
  const kernels = outcome?.result as Kernels | undefined
  const torch = peer?.result as Counterparts | undefined
  if (!kernels) return []
  return kernels.cases.map(({ case: name, dtype, ms: time, floor_ms }) => [
    `&nbsp;&nbsp;${name}, ${dtype}`,
    '',
    ms(time),
    ms(floor_ms),
    ratio(time, floor_ms),
    '',
    ms(torch?.[name]),
  ])
}

function rowsOf(part: Part, { parts }: Results): Row[] {
  const outcome = parts[part.name]
  // Times on paper stand beside the measured ones; they have a row where there are none.
  if (part.stage === 'paper') return outcome?.state === 'done' ? [] : [[part.name, outcomeText(outcome)]]
  if (part.stage === 'checks') return [testRow(part.name, outcome)]
  if (part.name === 'kernels')
    return [[part.name, outcomeText(outcome)], ...kernelRows(outcome, parts['kernels in PyTorch'])]
  if (part.name === 'kernels in PyTorch') return [[part.name, outcomeText(outcome)]]
  return timeRows(part.name, outcome, parts[paperOf(part.name)])
}

export function table(parts: readonly Part[], results: Results): string {
  const { name } = cards[results.card as CardName]
  const kernels = results.parts.kernels?.result as Kernels | undefined
  const rates = kernels?.card
  const rows = [head, head.map(() => '---'), ...parts.flatMap((part) => rowsOf(part, results))]
  return [
    `# GPU: ${results.gpu ?? 'not seen yet'}`,
    '',
    ...(rates
      ? [
          `Copies reach ${rates.copy_gb_s.toFixed(0)} GB/s, matrix products ${rates.bf16_tflop_s.toFixed(1)} TFLOP/s in bf16 and ` +
            `${rates.f32_tflop_s.toFixed(1)} in f32.`,
          '',
        ]
      : []),
    `Expected of pictures and training steps is what the clock on paper gives for ${name}; of a kernel, its floor at the rates above`,
    '(docs/kernels.md).',
    '',
    ...rows.map((row) => `| ${head.map((_, i) => row[i] ?? '').join(' | ')} |`),
    '',
  ].join('\n')
}
