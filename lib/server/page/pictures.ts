/** Sample pictures of one run: a slider over the moments at which they were drawn, and the scales of a picture on a click. */

class Gallery {
  readonly element = document.createElement('section')
  readonly #slider = document.createElement('input')
  readonly #when = document.createElement('output')
  readonly #grid = document.createElement('div')
  #sets: PictureSet[] = []
  #chosen: string | null = null
  #shown = ''

  constructor(
    name: string,
    colour: string,
    private readonly address: (set: string, file: string) => string,
  ) {
    const title = document.createElement('h3')
    title.textContent = name
    title.style.setProperty('--colour', colour)
    this.#slider.type = 'range'
    this.#slider.min = '0'
    this.#slider.setAttribute('aria-label', `Moment of the pictures of ${name}`)
    this.#slider.addEventListener('input', () => {
      const last = this.#sets.length - 1
      // At the right end the newest stay in view.
      this.#chosen = Number(this.#slider.value) === last ? null : this.#sets[Number(this.#slider.value)].name
      this.#draw()
    })
    const bar = document.createElement('div')
    bar.className = 'moment'
    bar.append(this.#slider, this.#when)
    this.#grid.className = 'pictures'
    this.element.className = 'gallery'
    this.element.append(title, bar, this.#grid)
  }

  show(sets: PictureSet[]): void {
    this.#sets = sets
    this.element.hidden = sets.length === 0
    this.#draw()
  }

  #draw(): void {
    const last = this.#sets.length - 1
    if (last < 0) return
    const found = this.#sets.findIndex(({ name }) => name === this.#chosen)
    const at = found < 0 ? last : found
    const set = this.#sets[at]
    this.#slider.max = String(last)
    this.#slider.value = String(at)
    this.#slider.disabled = last === 0
    this.#when.textContent = `epoch ${set.epoch}, step ${set.step}`
    const shown = JSON.stringify(set)
    if (shown === this.#shown) return
    this.#shown = shown
    this.#grid.replaceChildren(...set.pictures.map((picture) => this.#picture(set, picture)))
  }

  #picture(set: PictureSet, { prompt, file, scales }: PictureSet['pictures'][number]): HTMLElement {
    const figure = document.createElement('figure')
    const image = picture(this.address(set.name, file), prompt)
    const caption = document.createElement('figcaption')
    caption.textContent = prompt
    const button = document.createElement('button')
    button.type = 'button'
    button.title = scales ? 'Enlarge, with the picture after each scale' : 'Enlarge'
    button.append(image)
    button.addEventListener('click', () =>
      enlarge(prompt, this.#when.textContent ?? '', [
        picture(this.address(set.name, file), prompt),
        ...(scales ? [picture(this.address(set.name, scales), `${prompt}, scale by scale`)] : []),
      ]),
    )
    figure.append(button, caption)
    return figure
  }
}

function picture(address: string, text: string): HTMLImageElement {
  const image = document.createElement('img')
  image.src = address
  image.alt = text
  image.loading = 'lazy'
  return image
}

function enlarge(prompt: string, when: string, images: HTMLImageElement[]): void {
  const dialog = document.createElement('dialog')
  const title = document.createElement('h3')
  title.textContent = prompt
  const moment = document.createElement('p')
  moment.textContent = when
  const close = document.createElement('button')
  close.type = 'button'
  close.textContent = 'Close'
  close.addEventListener('click', () => dialog.close())
  dialog.addEventListener('close', () => dialog.remove())
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close()
  })
  dialog.append(title, moment, ...images, close)
  document.body.append(dialog)
  dialog.showModal()
}
