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
  const shown = [...metrics].filter((name) => !hiddenMetrics.has(name)).sort(inOrder)
  // The names of the overview say more.
  const inOverview = (metric: string): boolean => overview.includes(metric)
  const twice = repeated(runs, [...shown.filter(inOverview), ...shown.filter((metric) => !inOverview(metric))])
  for (const metric of shown) {
    let chart = charts.get(metric)
    if (!chart) {
      chart = new Chart(metric)
      charts.set(metric, chart)
      place(chart, section(groups.find(([, pattern]) => pattern.test(metric))![0]))
    }
    const lines = twice.has(metric) ? [] : linesOf(runs, metric)
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
  noPictures(runs)
  if (metrics.size === 0 && !main.hasChildNodes()) main.textContent = 'Nothing has been logged yet.'
}

/** Metrics that are another one under a second name: the loss of the last scale is that of the scale with the highest number. */
function repeated(runs: readonly Run[], metrics: readonly string[]): Set<string> {
  const same = (a: Series | undefined, b: Series | undefined): boolean =>
    a === b ||
    (a !== undefined &&
      b !== undefined &&
      a.values.length === b.values.length &&
      a.values.every((value, i) => value === b.values[i] && a.steps[i] === b.steps[i]))
  const twice = new Set<string>()
  metrics.forEach((metric, i) => {
    const known = metrics.slice(0, i).filter((other) => !twice.has(other))
    const other = known.find((candidate) =>
      runs.every(
        ({ series }) =>
          same(series[metric], series[candidate]) && same(series[validation + metric], series[validation + candidate]),
      ),
    )
    if (other !== undefined) twice.add(metric)
  })
  return twice
}

const emptyNote = document.createElement('p')

/** Says why there are no pictures, where there are none. */
function noPictures(runs: readonly Run[]): void {
  emptyNote.hidden = galleries.some((gallery) => gallery)
  if (emptyNote.hidden || runs.length === 0) return
  const [{ picturesEvery, series }] = runs
  const step = series.loss?.steps.at(-1) ?? 0
  emptyNote.textContent =
    picturesEvery === null
      ? 'This run keeps no sample pictures in its val_imgs.'
      : picturesEvery === 0
        ? 'This run draws no sample pictures: "picturesEvery" of its configuration is 0.'
        : step < picturesEvery
          ? `The first sample pictures come at step ${picturesEvery}.`
          : 'The run folder holds no val_imgs with sample pictures.'
  if (!emptyNote.isConnected) section('Pictures').append(emptyNote)
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
    // On a phone there is one thing at a time to look at.
    details.open = title === 'Overview' || !matchMedia('(max-width: 640px)').matches
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

/** Draws with the model as it is now: with its newest checkpoint. */
function tryButton(run: number): HTMLButtonElement {
  const button = document.createElement('button')
  button.type = 'button'
  button.textContent = 'Try its model'
  button.addEventListener('click', async () => {
    button.disabled = true
    button.textContent = 'Preparing…'
    try {
      const response = await fetch(`runs/${run}/try`, { method: 'POST' })
      const answer = (await response.json()) as { model?: string; error?: { message: string } }
      if (!answer.model) throw new Error(answer.error?.message ?? `the server answers with ${response.status}`)
      location.assign(`draw?model=${encodeURIComponent(answer.model)}`)
    } catch (error) {
      document.getElementById('problem')!.textContent = error instanceof Error ? error.message : String(error)
    }
    button.disabled = false
    button.textContent = 'Try its model'
  })
  return button
}

let listed = ''

/** Time since the last start, and time left at the speed of the newest figures. */
function timesOf({ elapsed, totalSteps, batchSize, series }: Run): string[] {
  const times = elapsed === null ? [] : [`${spanText(elapsed)} since its start`]
  const step = series.loss?.steps.at(-1)
  const speeds = (series.samplesPerSecond?.values ?? []).slice(-20).sort((a, b) => a - b)
  const speed = speeds[speeds.length >> 1]
  if (totalSteps !== null && batchSize !== null && step !== undefined && step < totalSteps && speed > 0)
    times.push(`about ${spanText(((totalSteps - step) * batchSize) / speed)} left`)
  return times
}

function drawRuns(runs: readonly Run[]): void {
  const list = document.getElementById('runs')!
  const now = JSON.stringify(runs.map(({ name, totalSteps, series }) => [name, totalSteps, series.loss?.steps.at(-1)]))
  if (now === listed) return
  listed = now
  const open = new Set(
    [...list.querySelectorAll('details[open]')].map((element) => (element as HTMLElement).dataset.run),
  )
  list.replaceChildren(
    ...runs.map(({ name, folder, kind, draws, totalSteps, settings, series }, run) => {
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
      const times = timesOf(runs[run])
      const place = document.createElement('span')
      place.className = 'progress'
      place.textContent = [progress, ...times].join(', ')
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
      if (source?.live && draws) item.append(tryButton(run))
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
