/** The page: runs as lines of the same charts, grouped by what they measure; sample pictures below. */

/** Colours that are distinguishable in light and dark and with colour blindness (Okabe & Ito 2008). */
const palette = ['#0072b2', '#e69f00', '#009e73', '#d55e00', '#cc79a7', '#56b4e9', '#a6761d', '#7570b3']
const colourOf = (run: number): string => palette[run % palette.length]

/** What the overview shows, in this order. */
const overview = ['loss', 'Lm', 'Lt', 'Accm', 'Acct', 'Lopen', 'psnr', 'samplesPerSecond']
/** Groups of metrics, in the order of the page; a metric belongs to the first whose pattern it meets. */
const groups: [string, RegExp][] = [
  ['Overview', new RegExp(`^(${overview.join('|')})$`)],
  ['Optimizer', /^(learningRate|weightDecay|gradNorm|lossScale|skipped|lr|wd)/],
  ['Codebook', /usage|vocab|codebook|revive/i],
  ['Loss of each scale', /^L\d+$/],
  ['Accuracy of each scale', /^Acc\d+$/],
  ['More', /./],
]
/** Known by every line already. */
const hiddenMetrics = new Set(['step', 'epoch'])
const validation = 'val/'

const main = document.getElementById('main')!
const charts = new Map<string, Chart>()
const sections = new Map<string, HTMLElement>()
const galleries: Gallery[] = []
const hiddenRuns = new Set<string>()
let source: Source | null = null
let drawing = false

const input = (id: string): HTMLInputElement => document.getElementById(id) as HTMLInputElement
const view = (): View => ({
  smoothing: Number(input('smoothing').value),
  log: input('log').checked,
  raw: input('raw').checked,
})

/** One drawing for all that happens before the next picture of the screen. */
function redraw(): void {
  if (drawing) return
  drawing = true
  requestAnimationFrame(() => {
    drawing = false
    draw()
  })
}

function draw(): void {
  if (!source) return
  const { runs } = source
  input('smoothing-value').textContent = view().smoothing.toFixed(2)
  document.getElementById('title')!.textContent = runs.length === 1 ? runs[0].name : `${runs.length} runs`
  document.title = `${runs.map(({ name }) => name).join(', ')} – STAR`
  drawRuns(runs)
  const metrics = new Set(runs.flatMap(({ series }) => Object.keys(series).map((name) => name.replace(validation, ''))))
  for (const metric of [...metrics].filter((name) => !hiddenMetrics.has(name)).sort(inOrder)) {
    let chart = charts.get(metric)
    if (!chart) {
      chart = new Chart(metric)
      charts.set(metric, chart)
      place(chart, section(groups.find(([, pattern]) => pattern.test(metric))![0]))
    }
    const lines = linesOf(runs, metric)
    chart.element.hidden = lines.length === 0
    if (lines.length > 0) chart.show(lines, view())
  }
  runs.forEach(({ name, pictures }, run) => {
    if (!galleries[run] && pictures.length > 0) {
      galleries[run] = new Gallery(name, colourOf(run), (set, file) => source!.picture(run, set, file))
      section('Pictures').append(galleries[run].element)
    }
    galleries[run]?.show(hiddenRuns.has(name) ? [] : pictures)
  })
  if (metrics.size === 0 && !main.hasChildNodes()) main.textContent = 'Nothing has been logged yet.'
}

/** A metric that appears late takes its place in the order, too. */
function place(chart: Chart, group: HTMLElement): void {
  const after = [...charts.values()].find(
    (other) => other.element.parentElement === group && inOrder(other.metric, chart.metric) > 0,
  )
  group.insertBefore(chart.element, after?.element ?? null)
}

function linesOf(runs: readonly Run[], metric: string): Line[] {
  return runs.flatMap(({ name, series }, run) =>
    hiddenRuns.has(name)
      ? []
      : [
          { label: name, dashed: false, series: series[metric] },
          { label: `${name} held out`, dashed: true, series: series[validation + metric] },
        ]
          .filter((line) => line.series !== undefined)
          .map((line) => ({ ...line, colour: colourOf(run) })),
  )
}

const inOrder = (a: string, b: string): number =>
  overview.indexOf(a) - overview.indexOf(b) || a.localeCompare(b, 'en', { numeric: true })

/** The part of the page that holds a group, in the order of `groups`, with the pictures after the overview. */
function section(title: string): HTMLElement {
  const order = ['Overview', 'Pictures', ...groups.slice(1).map(([name]) => name)]
  let body = sections.get(title)
  if (!body) {
    if (sections.size === 0) main.textContent = ''
    const details = document.createElement('details')
    details.open = true
    details.dataset.order = String(order.indexOf(title))
    const summary = document.createElement('summary')
    const heading = document.createElement('h2')
    heading.textContent = title
    summary.append(heading)
    body = document.createElement('div')
    body.className = title === 'Pictures' ? 'galleries' : 'charts'
    details.append(summary, body)
    const after = [...main.children].find(
      (other) => Number((other as HTMLElement).dataset.order) > order.indexOf(title),
    )
    main.insertBefore(details, after ?? null)
    sections.set(title, body)
  }
  return body
}

let listed = ''

function drawRuns(runs: readonly Run[]): void {
  const list = document.getElementById('runs')!
  const now = JSON.stringify(runs.map(({ name, totalSteps, series }) => [name, totalSteps, series.loss?.steps.at(-1)]))
  if (now === listed) return
  listed = now
  const open = new Set(
    [...list.querySelectorAll('details[open]')].map((element) => (element as HTMLElement).dataset.run),
  )
  list.replaceChildren(
    ...runs.map(({ name, folder, kind, totalSteps, settings, series }, run) => {
      const item = document.createElement('li')
      item.style.setProperty('--colour', colourOf(run))
      const label = document.createElement('label')
      const box = document.createElement('input')
      box.type = 'checkbox'
      box.checked = !hiddenRuns.has(name)
      box.addEventListener('change', () => {
        if (box.checked) hiddenRuns.delete(name)
        else hiddenRuns.add(name)
        redraw()
      })
      const step = series.loss?.steps.at(-1) ?? 0
      const progress = totalSteps
        ? `${kind}, step ${step} of ${totalSteps} (${Math.floor((100 * step) / totalSteps)} %)`
        : `${kind}, step ${step}`
      const place = document.createElement('span')
      place.className = 'progress'
      place.textContent = progress
      label.append(box, name)
      const details = document.createElement('details')
      details.dataset.run = name
      details.open = open.has(name)
      const summary = document.createElement('summary')
      summary.append(place)
      const table = document.createElement('table')
      for (const [key, value] of [['folder', folder], ...settings]) {
        const row = table.insertRow()
        const head = document.createElement('th')
        head.scope = 'row'
        head.textContent = key
        row.append(head)
        row.insertCell().textContent = value
      }
      details.append(summary, table)
      item.append(label, details)
      return item
    }),
  )
}

for (const id of ['smoothing', 'log', 'raw']) input(id).addEventListener('input', redraw)
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const chart of charts.values()) chart.redraw()
})

void openSource(
  (opened) => {
    source = opened
    redraw()
  },
  (state) => {
    const line = document.getElementById('state')!
    line.textContent = state === 'live' ? 'live' : 'no connection to star watch; trying again'
    line.className = state
  },
)
