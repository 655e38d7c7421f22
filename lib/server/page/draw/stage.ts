/** The pictures at work: one request, or a grid of them, with their progress, cancel and what went wrong. */
import { type Drawing, draw, type Hooks } from './api.js'
import { byId, make } from './dom.js'
import type { GridPlan } from './grid.js'
import { add, type Stored } from './store.js'
import { Tile } from './tile.js'

/** Requests at a time; a browser opens six connections to a server at most. */
const together = 4

export interface StageHooks {
  onStored(picture: Stored): void
  open(picture: Stored): void
  onBusy(busy: boolean): void
  /** The place is needed for new pictures. */
  onClear(): void
}

export class Stage {
  #controller: AbortController | null = null
  #tiles: Tile[] = []
  #again: (() => void) | null = null

  constructor(private readonly hooks: StageHooks) {
    byId('retry').addEventListener('click', () => this.#again?.())
  }

  get busy(): boolean {
    return this.#controller !== null
  }

  cancel(): void {
    this.#controller?.abort()
  }

  say(text: string): void {
    const status = byId('status')
    if (status.textContent !== text) status.textContent = text
  }

  /** Shows what went wrong. @param again what "Try again" does; without it there is no such button */
  problem(text: string | null, again: (() => void) | null = null): void {
    byId('problem').hidden = text === null
    byId('problem-text').textContent = text ?? ''
    byId('retry').hidden = again === null
    this.#again = again
  }

  #clear(): void {
    for (const tile of this.#tiles) tile.forget()
    this.#tiles = []
    this.hooks.onClear()
    this.problem(null)
  }

  #tile(drawing: Drawing, offset: number): Tile {
    const tile = new Tile({ ...drawing, seed: drawing.seed + offset })
    this.#tiles.push(tile)
    return tile
  }

  /** One request. */
  async single(drawing: Drawing): Promise<void> {
    this.cancel()
    this.#clear()
    const tiles = Array.from({ length: drawing.count }, (_, i) => this.#tile(drawing, i))
    const list = make(
      'ul',
      { className: drawing.count === 1 ? 'tiles one' : 'tiles' },
      ...tiles.map(({ element }) => element),
    )
    byId('results').replaceChildren(list)
    await this.#run([{ drawing, tiles }], () => void this.single(drawing))
  }

  /** A request for each row, or each cell. */
  async grid(plan: GridPlan): Promise<void> {
    this.cancel()
    this.#clear()
    const jobs: { drawing: Drawing; tiles: Tile[] }[] = []
    const head = make(
      'tr',
      {},
      make('td'),
      ...plan.columns.map((title) => make('th', { scope: 'col', textContent: title })),
    )
    const rows = plan.rows.map(({ title, drawings }) => {
      const cells = drawings.flatMap((drawing) => {
        const tiles = Array.from({ length: drawing.count }, (_, i) => this.#tile(drawing, i))
        jobs.push({ drawing, tiles })
        return tiles.map(({ element }) => make('td', {}, make('ul', { className: 'tiles one' }, element)))
      })
      return make('tr', {}, make('th', { scope: 'row', textContent: title }), ...cells)
    })
    const table = make('table', { className: 'grid' }, make('thead', {}, head), make('tbody', {}, ...rows))
    const scroller = make(
      'div',
      { className: 'scroller', tabIndex: 0, role: 'region', ariaLabel: 'Grid of pictures' },
      table,
    )
    byId('results').replaceChildren(scroller)
    await this.#run(jobs, () => void this.grid(plan))
  }

  async #run(jobs: { drawing: Drawing; tiles: Tile[] }[], again: () => void): Promise<void> {
    const controller = new AbortController()
    this.#controller = controller
    this.hooks.onBusy(true)
    this.say('Sent')
    const began = performance.now()
    const total = this.#tiles.length
    const waiting = [...jobs]
    const worker = async (): Promise<void> => {
      for (let job = waiting.shift(); job; job = waiting.shift()) await this.#draw(job, controller.signal)
    }
    try {
      await Promise.all(Array.from({ length: Math.min(together, jobs.length) }, worker))
      const seconds = (performance.now() - began) / 1000
      this.say(`${total === 1 ? 'One picture' : `${total} pictures`} in ${seconds.toFixed(seconds < 10 ? 1 : 0)} s`)
    } catch (error) {
      controller.abort()
      if (this.#controller !== controller) return
      const done = this.#tiles.filter((tile) => tile.done).length
      for (const tile of this.#tiles) if (!tile.done) tile.element.classList.add('stopped')
      if (error instanceof DOMException && error.name === 'AbortError')
        this.say(done === 0 ? 'Cancelled' : `Cancelled; ${done} of ${total} pictures are done`)
      else {
        this.say('')
        this.problem(error instanceof Error ? error.message : String(error), again)
      }
    } finally {
      if (this.#controller === controller) {
        this.#controller = null
        this.hooks.onBusy(false)
      }
    }
  }

  async #draw({ drawing, tiles }: { drawing: Drawing; tiles: Tile[] }, signal: AbortSignal): Promise<void> {
    const stored: Promise<void>[] = []
    const hooks: Hooks = {
      onQueue: (ahead) =>
        this.say(ahead === 0 ? 'Next in the queue' : `${ahead} ${ahead === 1 ? 'request' : 'requests'} ahead`),
      onStart: () => this.say('Drawing'),
      onWait: (text) => this.say(text),
      onPicture: (index, picture, share) => {
        const tile = tiles[index]
        if (share < 1) tile.preview(picture, share)
        else stored.push(this.#keep(tile, picture, { ...drawing, seed: drawing.seed + index }))
      },
    }
    await draw(drawing, hooks, signal)
    await Promise.all(stored)
  }

  async #keep(tile: Tile, file: Blob, drawing: Drawing): Promise<void> {
    const { model, prompt, seed, size, lora, cfg, topK, topP, speed, change } = drawing
    const made = {
      ...{ model, prompt, seed },
      ...(size && { size }),
      ...(lora?.length && { lora }),
      ...(change && { changed: true }),
    }
    const picture = { ...made, cfg, topK, topP, speed, created: Date.now(), file }
    let kept: Stored
    try {
      kept = await add(picture)
      this.hooks.onStored(kept)
    } catch (error) {
      // A private window, or a full disk: the picture is there all the same.
      kept = { ...picture, id: -1 }
      this.problem(
        `The gallery cannot keep pictures in this browser: ${error instanceof Error ? error.message : String(error)}`,
      )
    }
    tile.finish(file, () => this.hooks.open(kept))
  }
}
