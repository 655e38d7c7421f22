/** The part of the dialog that changes a picture by words: what it shows now, and how far it is to change. */
import { settingsOf, type WordChange } from './api.js'
import { make } from './dom.js'

/** A slider from 0 to 1, and its value beside it. */
function slider(id: string, label: string, { value, hint }: { value: number; hint: string }) {
  // Screen readers hear it from the slider itself.
  const shown = make('span', { className: 'value', ariaHidden: 'true', textContent: String(value) })
  const range = make('input', { type: 'range', id, min: '0', max: '1', step: '0.05', value: String(value) })
  range.addEventListener('input', () => {
    shown.textContent = range.value
  })
  const element = make(
    'div',
    { className: 'slider' },
    make('label', { htmlFor: id, textContent: label }),
    range,
    shown,
    make('p', { className: 'hint', textContent: hint }),
  )
  return { element, value: (): number => Number(range.value) }
}

export class ByWords {
  readonly #from = make('textarea', { id: 'edit-from', rows: 2, maxLength: 4096 })
  readonly #share = slider('edit-share', 'How much of it changes', {
    value: 0.3,
    hint: 'The share of the picture that is drawn anew: where the words that differ are seen.',
  })
  readonly #strength = slider('edit-strength', 'How freely', {
    value: 0.5,
    hint: 'At 0 that part is held to what it shows, at 1 it is drawn as the words say. Where too little changes, raise both.',
  })
  /** The picture that the prompt was asked for. */
  #picture: Blob | null = null
  /** What was filled in of it: as long as nobody wrote something else, it goes with its picture. */
  #filled = ''
  readonly before = make(
    'div',
    { className: 'field' },
    make('label', { htmlFor: 'edit-from', textContent: 'What it shows now' }),
    this.#from,
  )
  readonly sliders = make('div', { className: 'sliders' }, this.#share.element, this.#strength.element)

  /** Fills in the prompt that a picture was drawn with, where its file says it and nothing is written there. */
  async know(picture: Blob): Promise<void> {
    if (this.#picture === picture) return
    this.#picture = picture
    // Pictures that were not drawn here do not say what they show: that is for people to write.
    const prompt = await settingsOf(picture).then(
      (settings) => settings.prompt,
      () => '',
    )
    if (this.#picture === picture && this.#from.value === this.#filled) this.#from.value = this.#filled = prompt
  }

  read(): WordChange {
    return { from: this.#from.value.trim(), share: this.#share.value(), strength: this.#strength.value() }
  }

  focus(): void {
    this.#from.focus()
  }
}
