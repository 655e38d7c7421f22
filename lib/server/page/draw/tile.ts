/** A place for a picture: empty at first, then the picture after each scale, at last one that can be opened. */
import type { Settings } from './api.js'
import { crisp, make } from './dom.js'

export class Tile {
  readonly element = make('li', { className: 'tile waiting' })
  readonly #button = make('button', { type: 'button', disabled: true })
  readonly #image = crisp(make('img', { alt: '', hidden: true }))
  readonly #bar = make('span', { className: 'bar', ariaHidden: 'true' })
  #url = ''

  constructor(private readonly settings: Settings) {
    this.#button.append(this.#image, this.#bar)
    this.element.append(this.#button)
    this.#button.ariaLabel = `${settings.prompt}, seed ${settings.seed}: waiting`
  }

  #put(picture: Blob): void {
    const before = this.#url
    this.#url = URL.createObjectURL(picture)
    this.#image.src = this.#url
    this.#image.hidden = false
    // What is still on the screen is let go once the next is.
    if (before)
      this.#image
        .decode()
        .catch(() => {})
        .finally(() => URL.revokeObjectURL(before))
  }

  /** The picture after a scale. @param share of its scales that are drawn */
  preview(picture: Blob, share: number): void {
    this.element.classList.remove('waiting')
    this.#put(picture)
    this.#bar.style.setProperty('--part', String(share))
    this.element.dataset.share = String(share)
    this.#button.ariaLabel = `${this.settings.prompt}, seed ${this.settings.seed}: being drawn`
  }

  finish(picture: Blob, open: () => void): void {
    this.element.classList.remove('waiting')
    this.element.classList.add('done')
    this.#put(picture)
    this.#image.alt = this.settings.prompt
    this.#button.ariaLabel = `${this.settings.prompt}, seed ${this.settings.seed}: open`
    this.#button.disabled = false
    this.#button.addEventListener('click', open)
  }

  get done(): boolean {
    return this.element.classList.contains('done')
  }

  forget(): void {
    if (this.#url) URL.revokeObjectURL(this.#url)
  }
}
