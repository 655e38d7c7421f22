/** Where the page's data come from: the server of `star watch`, or the page itself in a report. */

interface Series {
  steps: number[]
  values: number[]
}

interface PictureSet {
  name: string
  epoch: number
  step: number
  pictures: { prompt: string; file: string; scales: string | null }[]
}

interface Run {
  name: string
  folder: string
  kind: string
  draws: boolean
  totalSteps: number | null
  /** Samples of a step. */
  batchSize: number | null
  /** Steps between sample pictures; 0: none are drawn. */
  picturesEvery: number | null
  /** Seconds from the run's last start to its newest figures. */
  elapsed: number | null
  settings: [string, string][]
  series: Record<string, Series>
  pictures: PictureSet[]
}

interface Update {
  run: number
  elapsed: number | null
  changes: Record<string, { from: number; steps: number[]; values: number[] }>
  pictures: PictureSet[] | null
}

interface Source {
  runs: Run[]
  /** Address of a picture. */
  picture(run: number, set: string, file: string): string
  /** Whether more can come. */
  live: boolean
}

type State = 'live' | 'waiting'

/** Points of a series at and after the first changed step are replaced by the new ones. */
function applyUpdate(runs: Run[], { run, elapsed, changes, pictures }: Update): void {
  const { series } = runs[run]
  runs[run].elapsed = elapsed
  for (const [name, { from, steps, values }] of Object.entries(changes)) {
    series[name] ??= { steps: [], values: [] }
    const old = series[name]
    let keep = old.steps.length
    while (keep > 0 && old.steps[keep - 1] >= from) keep--
    series[name] = { steps: old.steps.slice(0, keep).concat(steps), values: old.values.slice(0, keep).concat(values) }
  }
  if (pictures) runs[run].pictures = pictures
}

/** Opens the source and calls `changed` whenever its runs are others than before, with `told` for the state of the connection. */
async function openSource(changed: (source: Source) => void, told: (state: State) => void): Promise<void> {
  const embedded = document.getElementById('data')
  if (embedded) {
    const { runs, pictures } = JSON.parse(embedded.textContent ?? '') as {
      runs: Run[]
      pictures: Record<string, string>
    }
    changed({ runs, live: false, picture: (run, set, file) => pictures[`${run}/${set}/${file}`] ?? '' })
    return
  }
  const source: Source = {
    runs: [],
    live: true,
    picture: (run, set, file) => `pictures/${run}/${encodeURIComponent(set)}/${encodeURIComponent(file)}`,
  }
  // Updates that come before the whole has been read are applied after it: they replace, so none is applied twice.
  let waiting: Update[] | null = []
  const read = async (): Promise<void> => {
    waiting ??= []
    const answer = await fetch('runs')
    source.runs = (await answer.json()) as Run[]
    for (const update of waiting) applyUpdate(source.runs, update)
    waiting = null
    changed(source)
  }
  const events = new EventSource('events')
  // Also after every break of the connection, in which updates were missed.
  events.onopen = () => {
    told('live')
    void read()
  }
  events.onerror = () => told('waiting')
  events.onmessage = ({ data }: MessageEvent<string>) => {
    const update = JSON.parse(data) as Update
    if (waiting) waiting.push(update)
    else {
      applyUpdate(source.runs, update)
      changed(source)
    }
  }
}
