/** An evaluation for people: lines of a figure each, and a page. */
import type { StyleFigures } from './captions.js'
import type { Evaluation } from './evaluate.js'

/** A figure: what it is, and its value. */
export type Line = readonly [name: string, value: string]

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`
const figure = (value: number): string => value.toPrecision(4)

/** The figures of an evaluation, one a line. */
export function evaluationLines({ captions, tokenizer, tokens, diversity, frechet, clip }: Evaluation): Line[] {
  const { retrieval, inStyle, words, composition } = captions
  const lines: Line[] = [
    [
      'own picture nearest',
      `${percent(retrieval.top1)}, among five ${percent(retrieval.top5)} (${retrieval.count} captions)`,
    ],
  ]
  if (inStyle)
    lines.push(
      ['own picture nearest in its style', `${percent(inStyle.top1)}, among five ${percent(inStyle.top5)}`],
      ['nearest picture in the right style', percent(inStyle.style)],
    )
  if (words)
    lines.push([
      'word: thing nearest',
      `${percent(words.top1)}, among five ${percent(words.top5)} (${words.count} words)`,
    ])
  if (composition)
    lines.push(
      [
        'unseen pair: thing nearest',
        `${percent(composition.concept1)}, among five ${percent(composition.concept5)} (${composition.count} pairs)`,
      ],
      ['unseen pair: right style', percent(composition.style)],
    )
  if (tokenizer) {
    lines.push(['PSNR of held-out pictures', `${tokenizer.psnr.toFixed(2)} dB (${tokenizer.pictures} pictures)`])
    if (tokenizer.ssim !== null) lines.push(['SSIM', tokenizer.ssim.toFixed(4)])
    if (tokenizer.perceptual !== null) lines.push(['perceptual distance', figure(tokenizer.perceptual)])
    lines.push(['codebook used by them', percent(tokenizer.codebook)])
  }
  lines.push(
    ['tokens right with teacher forcing', `${percent(tokens.accuracy)} (loss ${tokens.loss.toFixed(3)})`],
    ['by scale', tokens.perScale.map(percent).join(', ')],
    [
      'distance of four seeds',
      `${figure(diversity.pixels)}${diversity.perceptual === null ? '' : `, perceptual ${figure(diversity.perceptual)}`} (${diversity.prompts} captions)`,
    ],
  )
  if (frechet)
    lines.push([
      frechet.comparable ? 'FID' : `Fréchet distance of ${frechet.features}`,
      `${figure(frechet.distance)} (${frechet.drawn} drawn, ${frechet.pictures} of the pack${frechet.comparable ? '' : '; not comparable with published FID'})`,
    ])
  if (clip) lines.push(['CLIP score', `${clip.score.toFixed(2)} (${clip.pictures} pictures)`])
  return lines
}

const escaped = (text: string): string =>
  text.replaceAll(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!)

const row = (cells: readonly string[], tag = 'td'): string =>
  `<tr>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join('')}</tr>`

function styleTable(byStyle: Record<string, StyleFigures>): string {
  const rows = Object.entries(byStyle).map(([style, { count, top1, top5, style: right }]) =>
    row([style, String(count), percent(top1), percent(top5), percent(right)]),
  )
  if (rows.length === 0) return ''
  const head = row(['style', 'captions', 'own picture nearest', 'among five', 'right style'], 'th')
  return `<h2>By style</h2>\n<table>${head}${rows.join('')}</table>`
}

/** One HTML file without anything beside it: figures, settings and the sheet. */
export function evaluationPage(evaluation: Evaluation, sheet: Uint8Array): string {
  const { model, data, settings } = evaluation
  const table = (lines: readonly Line[]): string => `<table>${lines.map((line) => row(line)).join('')}</table>`
  const about: Line[] = [
    ['model', `${model.name} (weights ${model.weights.slice(0, 12)}, ${model.dtype}, ${model.device})`],
    ['data', `${data.pack}: ${data.train} training pictures, ${data.heldOut} held out`],
    ...Object.entries(settings).map(([name, value]): Line => [name, String(value)]),
  ]
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation of ${escaped(model.name)}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222; background: #fff }
table { border-collapse: collapse } td, th { padding: .2rem 1rem .2rem 0; text-align: left; border-bottom: 1px solid #ddd }
img { max-width: 100% }
</style>
<h1>Evaluation of ${escaped(model.name)}</h1>
${table(evaluationLines(evaluation))}
${styleTable(evaluation.captions.byStyle)}
<h2>Captions with their own pictures and four drawn ones</h2>
<img alt="Contact sheet" src="data:image/png;base64,${Buffer.from(sheet).toString('base64')}">
<h2>What was measured</h2>
${table(about)}
</html>
`
}
