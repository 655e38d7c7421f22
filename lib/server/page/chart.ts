/** One metric as a chart, with a line a run; a validation's values of the same name are dashed. */

// uPlot is loaded before this script and defines a global.
declare const uPlot: UPlotConstructor

interface UPlot {
  setData(data: (number | null)[][]): void
  setSize(size: { width: number; height: number }): void
  destroy(): void
  readonly root: HTMLElement
}

interface UPlotConstructor {
  new (options: Record<string, unknown>, data: (number | null)[][], target: HTMLElement): UPlot
  sync(name: string): { key: string }
}

/** A line of a chart. */
interface Line {
  label: string
  colour: string
  dashed: boolean
  series: Series
}

interface View {
  smoothing: number
  log: boolean
  raw: boolean
}

/**
 * Exponential moving average s_i = w·s_{i−1} + (1 − w)·x_i, divided by 1 − w^i, so that the first values count fully
 * (Kingma & Ba 2015, section 3).
 */
function smoothed(values: readonly number[], weight: number): number[] {
  let sum = 0
  let power = 1
  return values.map((x) => {
    sum = weight * sum + (1 - weight) * x
    power *= weight
    return sum / (1 - power)
  })
}

/** Up to four digits that matter, in a form that needs little room. */
function short(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–'
  const size = Math.abs(value)
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2)
  return String(Number(value.toPrecision(4)))
}

class Chart {
  readonly element = document.createElement('figure')
  readonly #caption = document.createElement('figcaption')
  readonly #place = document.createElement('div')
  #plot: UPlot | null = null
  #shape = ''
  #lines: Line[] = []
  #view: View = { smoothing: 0, log: false, raw: true }

  constructor(readonly metric: string) {
    const title = document.createElement('span')
    title.className = 'metric'
    title.textContent = metricName(metric)
    title.title = metric
    this.#caption.append(title)
    this.element.append(this.#caption, this.#place)
    this.#place.className = 'plot'
    new ResizeObserver(() => this.#resize()).observe(this.#place)
  }

  show(lines: Line[], view: View): void {
    this.#lines = lines
    this.#view = view
    this.#title()
    const shape = JSON.stringify([
      lines.map(({ label, colour, dashed }) => [label, colour, dashed]),
      view.log,
      view.raw,
    ])
    const data = this.#data()
    if (this.#plot && shape === this.#shape) {
      this.#plot.setData(data)
      return
    }
    this.#shape = shape
    this.#plot?.destroy()
    this.#plot = new uPlot(this.#options(), data, this.#place)
  }

  /** Name and newest value of each run, so that the chart also reads as text. */
  #title(): void {
    const values = this.#lines.map(({ label, colour, dashed, series }) => {
      const value = document.createElement('span')
      value.className = dashed ? 'value dashed' : 'value'
      value.style.setProperty('--colour', colour)
      value.textContent = short(series.values.at(-1))
      value.title = label
      return value
    })
    this.#caption.replaceChildren(this.#caption.firstChild!, ...values)
    this.element.setAttribute(
      'aria-label',
      `${metricName(this.metric)}: ${this.#lines.map(({ label, series }) => `${label} ${short(series.values.at(-1))}`).join(', ')}`,
    )
  }

  /** Smoothed lines, and behind them the raw ones where that is asked for; validations are few and stay as they are. */
  #data(): (number | null)[][] {
    const steps = [...new Set(this.#lines.flatMap(({ series }) => series.steps))].sort((a, b) => a - b)
    const place = new Map(steps.map((step, i) => [step, i]))
    const spread = ({ steps: own }: Series, values: readonly number[]): (number | null)[] => {
      const row: (number | null)[] = new Array(steps.length).fill(null)
      own.forEach((step, i) => {
        const value = values[i]
        // A logarithmic axis has no place for them.
        row[place.get(step)!] = this.#view.log && value <= 0 ? null : value
      })
      return row
    }
    const { smoothing, raw } = this.#view
    return [
      steps,
      ...(raw ? this.#lines.filter(({ dashed }) => !dashed).map(({ series }) => spread(series, series.values)) : []),
      ...this.#lines.map(({ series, dashed }) =>
        spread(series, dashed || isSchedule(this.metric) ? series.values : smoothed(series.values, smoothing)),
      ),
    ]
  }

  #options(): Record<string, unknown> {
    const style = getComputedStyle(document.documentElement)
    const ink = style.getPropertyValue('--quiet')
    const grid = { stroke: style.getPropertyValue('--rule'), width: 1 }
    const axis = { stroke: ink, grid, ticks: { show: false }, font: '11px system-ui, sans-serif' }
    const { log, raw } = this.#view
    const line = ({ label, colour, dashed }: Line) => ({
      label,
      stroke: colour,
      width: 2,
      spanGaps: true,
      dash: dashed ? [6, 4] : undefined,
      points: { show: dashed },
      value: (_: unknown, value: number | null) => short(value),
    })
    const faint = ({ label, colour }: Line) => ({
      label: `${label} raw`,
      stroke: colour,
      alpha: 0.25,
      width: 1,
      spanGaps: true,
      points: { show: false },
      class: 'raw',
      value: (_: unknown, value: number | null) => short(value),
    })
    return {
      ...this.#size(),
      cursor: { sync: { key: uPlot.sync('steps').key, setSeries: false }, drag: { x: true, y: false } },
      legend: { live: true },
      scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
      axes: [
        { ...axis, size: 26, values: (_: unknown, ticks: number[]) => ticks.map((tick) => compact(tick)) },
        {
          ...axis,
          size: 52,
          values: (_: unknown, ticks: (number | null)[]) => ticks.map((tick) => (tick === null ? '' : short(tick))),
        },
      ],
      series: [
        { label: 'step', value: (_: unknown, step: number | null) => (step === null ? '–' : String(step)) },
        ...(raw ? this.#lines.filter(({ dashed }) => !dashed).map(faint) : []),
        ...this.#lines.map(line),
      ],
    }
  }

  #size(): { width: number; height: number } {
    return { width: Math.max(200, this.#place.clientWidth), height: 190 }
  }

  #resize(): void {
    this.#plot?.setSize(this.#size())
  }

  /** Draws anew: colours have changed. */
  redraw(): void {
    this.#shape = ''
    if (this.#lines.length > 0) this.show(this.#lines, this.#view)
  }
}

const compact = (step: number): string =>
  step >= 1e6
    ? `${Number((step / 1e6).toPrecision(3))}M`
    : step >= 1e4
      ? `${Number((step / 1e3).toPrecision(3))}k`
      : String(step)
