/** The gallery: what was drawn in this browser, with search, selection, download and deletion. */
import { byId, crisp, input, make, on, toast } from './dom.js'
import { add, all, remove, type Stored } from './store.js'
import { compare, download } from './viewer.js'

const page = 60

export class Gallery {
  #pictures: Stored[] = []
  #shown = page
  readonly #selected = new Set<number>()
  readonly #urls = new Map<number, string>()

  constructor(private readonly open: (picture: Stored) => void) {
    on('search', 'input', () => {
      this.#shown = page
      this.#draw()
    })
    on('show-more', 'click', () => {
      this.#shown += page
      this.#draw()
    })
    on('compare', 'click', () => {
      const [first, second] = this.#chosen()
      compare(first, second)
    })
    on('download', 'click', () => void this.#download())
    on('delete', 'click', () => void this.remove(this.#chosen()))
    on('clear', 'click', () => this.#unselect())
  }

  /** Reads what is kept. @throws where the browser keeps nothing */
  async start(): Promise<void> {
    this.#pictures = await all()
    this.#draw()
  }

  add(picture: Stored): void {
    this.#pictures.unshift(picture)
    this.#draw()
  }

  beside(picture: Stored, by: number): Stored | undefined {
    const list = this.#matching()
    const at = list.findIndex(({ id }) => id === picture.id)
    return at < 0 ? undefined : list[at + by]
  }

  #matching(): Stored[] {
    const words = input('search').value.toLowerCase().split(/\s+/).filter(Boolean)
    return this.#pictures.filter(({ prompt, model, seed }) => {
      const text = `${prompt} ${model} ${seed}`.toLowerCase()
      return words.every((word) => text.includes(word))
    })
  }

  #chosen(): Stored[] {
    return this.#pictures.filter(({ id }) => this.#selected.has(id))
  }

  #unselect(): void {
    this.#selected.clear()
    this.#draw()
  }

  async #download(): Promise<void> {
    for (const picture of this.#chosen()) await download(picture, 'png')
  }

  /** Deletes pictures, and offers to bring them back. */
  async remove(pictures: readonly Stored[]): Promise<void> {
    const ids = new Set(pictures.map(({ id }) => id))
    try {
      await remove([...ids])
    } catch (error) {
      toast(`not deleted: ${error instanceof Error ? error.message : String(error)}`)
      return
    }
    this.#pictures = this.#pictures.filter(({ id }) => !ids.has(id))
    for (const id of ids) {
      this.#selected.delete(id)
      const url = this.#urls.get(id)
      if (url) URL.revokeObjectURL(url)
      this.#urls.delete(id)
    }
    this.#draw()
    const undo = make('button', { type: 'button', className: 'link', textContent: 'Undo' })
    undo.addEventListener('click', async () => {
      for (const { id: _, ...picture } of [...pictures].reverse()) this.#pictures.push(await add(picture))
      this.#pictures.sort((a, b) => b.created - a.created || b.id - a.id)
      byId('toast').classList.remove('shown')
      this.#draw()
    })
    toast(`${pictures.length === 1 ? 'One picture' : `${pictures.length} pictures`} deleted. `)
    byId('toast').append(undo)
  }

  #url({ id, file }: Stored): string {
    let url = this.#urls.get(id)
    if (!url) {
      url = URL.createObjectURL(file)
      this.#urls.set(id, url)
    }
    return url
  }

  #item(picture: Stored): HTMLLIElement {
    const { id, prompt, seed } = picture
    const image = crisp(make('img', { src: this.#url(picture), alt: prompt, loading: 'lazy' }))
    const opener = make(
      'button',
      { type: 'button', title: `${prompt}\nseed ${seed}`, ariaLabel: `${prompt}, seed ${seed}: open` },
      image,
    )
    opener.addEventListener('click', () => this.open(picture))
    const box = make('input', {
      type: 'checkbox',
      checked: this.#selected.has(id),
      ariaLabel: `Select ${prompt}, seed ${seed}`,
    })
    box.addEventListener('change', () => {
      if (box.checked) this.#selected.add(id)
      else this.#selected.delete(id)
      this.#bar()
    })
    const item = make('li', { className: 'kept' }, opener, box)
    item.dataset.id = String(id)
    return item
  }

  #bar(): void {
    const count = this.#selected.size
    byId('selection').hidden = count === 0
    byId('selected').textContent = `${count} selected`
    const both = byId<HTMLButtonElement>('compare')
    both.disabled = count !== 2
    both.title = count === 2 ? '' : 'Select two pictures to compare them'
  }

  /** Items that are there stay, so that focus and loaded pictures do. */
  #draw(): void {
    const list = byId('pictures')
    const matching = this.#matching()
    const items = new Map([...list.children].map((item) => [(item as HTMLElement).dataset.id, item as HTMLLIElement]))
    const shown = matching.slice(0, this.#shown).map((picture) => {
      const item = items.get(String(picture.id)) ?? this.#item(picture)
      item.querySelector('input')!.checked = this.#selected.has(picture.id)
      return item
    })
    if (shown.length !== list.children.length || shown.some((item, i) => item !== list.children[i]))
      list.replaceChildren(...shown)
    byId('gallery').hidden = this.#pictures.length === 0
    byId('gallery-count').textContent =
      matching.length === this.#pictures.length
        ? String(matching.length)
        : `${matching.length} of ${this.#pictures.length}`
    byId('no-match').hidden = matching.length > 0
    byId('show-more').hidden = matching.length <= this.#shown
    this.#bar()
  }
}
