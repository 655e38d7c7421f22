/** One picture, large, with what it was made with and what can be done with it; and two pictures over each other. */
import { convert, type Settings, sizeText } from './api.js'
import { button, crisp, fileName, make, openDialog, save, toast } from './dom.js'
import type { Stored } from './store.js'

export interface ViewerHooks {
  use(settings: Settings): void
  copyAs(kind: string, settings: Settings): void
  /** Opens it, to be changed. */
  change(picture: Stored): void
  remove(picture: Stored): void
  /** The picture before or after in the gallery. */
  beside(picture: Stored, by: number): Stored | undefined
}

const formats = ['png', 'jpeg', 'webp', 'avif'] as const

const hasLoras = ({ lora }: Settings): boolean => (lora?.length ?? 0) > 0

const loraText = ({ lora = [] }: Settings): string =>
  lora.map(({ name, path, strength }) => `${name ?? path} at ${strength}`).join(', ') || 'none'

const rowsOf = (settings: Settings, withLoras = hasLoras(settings)): [string, string][] => {
  const { prompt, model, seed, size, cfg, topK, topP, speed } = settings
  return [
    ['Prompt', prompt],
    ['Model', model],
    ['Seed', String(seed)],
    ['Size', size ? sizeText(size).replace('x', ' × ') : 'the model’s'],
    ['Guidance', String(cfg)],
    ['Top-k', String(topK)],
    ['Top-p', String(topP)],
    ['Speed', typeof speed === 'object' ? 'of its own' : (speed ?? 'full')],
    ...(withLoras ? [['LoRAs', loraText(settings)] as [string, string]] : []),
  ]
}

function imageOf(picture: Stored, urls: string[]): HTMLImageElement {
  const url = URL.createObjectURL(picture.file)
  urls.push(url)
  return crisp(make('img', { src: url, alt: picture.prompt, className: 'large' }))
}

function chooser(
  label: string,
  choices: readonly (readonly [string, string])[],
  act: (value: string) => void,
): HTMLSelectElement {
  const element = make(
    'select',
    { ariaLabel: label },
    make('option', { value: '', textContent: `${label}…` }),
    ...choices.map(([value, text]) => make('option', { value, textContent: text })),
  )
  element.addEventListener('change', () => {
    const { value } = element
    element.value = ''
    if (value) act(value)
  })
  return element
}

/** Offers what is asked for as a command line, a program or a call. */
export const copyChooser = (copyAs: (kind: string) => void): HTMLSelectElement =>
  chooser(
    'Copy as',
    [
      ['cli', 'command line'],
      ['typescript', 'TypeScript'],
      ['curl', 'curl'],
    ],
    copyAs,
  )

export async function download(picture: Stored, format: string): Promise<void> {
  try {
    save(await convert(picture.file, format), fileName(picture.prompt, picture.seed, format))
  } catch (error) {
    toast(error instanceof Error ? error.message : String(error))
  }
}

/** Opens a picture; the arrow keys go through the gallery. */
export function view(first: Stored, hooks: ViewerHooks): void {
  const urls: string[] = []
  let picture = first
  const figure = make('div', { className: 'figure' })
  const facts = make('dl')
  const actions = make('div', { className: 'actions' })
  const show = (): void => {
    // The picture that it was made of is not in its settings.
    copying.hidden = picture.changed ?? false
    figure.replaceChildren(imageOf(picture, urls))
    facts.replaceChildren(
      ...rowsOf(picture).flatMap(([name, value]) => [
        make('dt', { textContent: name }),
        make('dd', { textContent: value }),
      ]),
    )
  }
  const dialog = openDialog('Picture', 'viewer', figure, make('div', { className: 'facts' }, facts, actions))
  const close = (): void => dialog.close()
  const copying = copyChooser((kind) => hooks.copyAs(kind, picture))
  actions.append(
    button(
      'Use these settings',
      () => {
        hooks.use(picture)
        close()
      },
      { className: 'primary' },
    ),
    chooser(
      'Download as',
      formats.map((format) => [format, format.toUpperCase()] as const),
      (format) => void download(picture, format),
    ),
    button('Change it', () => {
      close()
      hooks.change(picture)
    }),
    copying,
    ...(picture.id < 0
      ? []
      : [
          button('Delete', () => {
            hooks.remove(picture)
            close()
          }),
        ]),
  )
  show()
  dialog.addEventListener('keydown', (event) => {
    if (event.target instanceof HTMLSelectElement) return
    const by = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0
    const next = by === 0 ? undefined : hooks.beside(picture, by)
    if (!next) return
    picture = next
    show()
  })
  dialog.addEventListener('close', () => {
    for (const url of urls) URL.revokeObjectURL(url)
  })
}

/** Two pictures over each other, with a slider that uncovers one of them, and what differs between them. */
export function compare(left: Stored, right: Stored): void {
  const urls: string[] = []
  const over = make('div', { className: 'over' }, imageOf(left, urls), imageOf(right, urls))
  const slider = make('input', {
    type: 'range',
    min: '0',
    max: '100',
    value: '50',
    ariaLabel: 'How much of the first picture is seen',
  })
  const move = (): void => over.style.setProperty('--cut', `${slider.value}%`)
  slider.addEventListener('input', move)
  move()
  const withLoras = hasLoras(left) || hasLoras(right)
  const others = rowsOf(right, withLoras)
  const rows = rowsOf(left, withLoras).map(([name, value], i) => {
    const row = make(
      'tr',
      {},
      make('th', { scope: 'row', textContent: name }),
      make('td', { textContent: value }),
      make('td', { textContent: others[i][1] }),
    )
    row.classList.toggle('differs', value !== others[i][1])
    return row
  })
  const head = make(
    'tr',
    {},
    make('td'),
    make('th', { scope: 'col', textContent: 'left' }),
    make('th', { scope: 'col', textContent: 'right' }),
  )
  const table = make('table', {}, make('thead', {}, head), make('tbody', {}, ...rows))
  const dialog = openDialog(
    'Two pictures compared',
    'viewer compare',
    make('div', { className: 'figure' }, over, slider),
    make('div', { className: 'facts' }, table),
  )
  slider.focus()
  dialog.addEventListener('close', () => {
    for (const url of urls) URL.revokeObjectURL(url)
  })
}
