/** The dialog in which a picture is changed: a part is painted, to be drawn anew, or words say what changes. */
import type { Change, Size } from './api.js'
import { ByWords } from './by-words.js'
import { button, crisp, make, openDialog } from './dom.js'
import { Painter } from './painter.js'
import { copyChooser } from './viewer.js'

/** What is changed, and into what. */
export interface Edit {
  change: Change
  prompt: string
  /** Of the picture. */
  size: Size
}

export interface EditorOptions {
  /** To begin with. */
  prompt: string
  draw(edit: Edit): void
  copyAs(kind: string, edit: Edit): void
}

/** Two ways to say what changes, with what is said of them. */
const ways = {
  paint: {
    name: 'Paint a part',
    action: 'Draw this part',
    hint: 'Paint what is to be drawn anew; the rest of the picture stays as it is. Other settings are those of the form.',
  },
  words: {
    name: 'Say it in words',
    action: 'Change it',
    hint: 'Say both in the same words but for those that change. Other settings are those of the form.',
  },
} as const
type Way = keyof typeof ways

/** Takes up a file in the dialog that is open. */
let load: ((file: Blob) => Promise<void>) | null = null

/** Gives a file that was dropped or pasted to the dialog. @returns false where none is open */
export function givenToEditor(file: Blob): boolean {
  void load?.(file)
  return load !== null
}

async function imageOf(file: Blob): Promise<HTMLImageElement> {
  const image = crisp(make('img', { alt: '', draggable: false, src: URL.createObjectURL(file) }))
  try {
    await image.decode()
  } catch (error) {
    URL.revokeObjectURL(image.src)
    throw error
  }
  return image
}

/** Opens the dialog. @param first the picture to begin with; without one it asks for one */
export function openEditor(first: Blob | null, options: EditorOptions): void {
  let painter: Painter | null = null
  let image: Blob | null = null
  let way: Way = 'paint'
  const words = new ByWords()

  const problem = make('p', { className: 'problem', hidden: true, role: 'alert' })
  const tell = (text: string): void => {
    problem.textContent = text
    problem.hidden = text === ''
  }
  const file = make('input', { type: 'file', accept: 'image/png,image/jpeg,image/webp,image/avif', hidden: true })
  const choose = button('Choose a picture', () => file.click())
  const place = make(
    'div',
    { className: 'figure' },
    make('p', { className: 'hint', textContent: 'Choose a picture, or drop one here.' }),
  )

  const size = make('input', { type: 'range', id: 'brush-size', min: '2', max: '100', value: '20' })
  const erase = button('Erase', () => setErasing(!painter?.erasing))
  const clear = button('Clear', () => {
    painter?.clear()
    tell('')
  })
  const prompt = make('textarea', { id: 'edit-prompt', rows: 2, maxLength: 4096, value: options.prompt })
  const draw = button('', () => void submit(), { className: 'primary' })
  const copying = copyChooser((kind) => void edited().then((edit) => edit && options.copyAs(kind, edit)))
  const choices = Object.entries(ways).map(([name, { name: text }]) => ({
    name,
    element: button(text, () => setWay(name as Way)),
  }))
  const hint = make('p', { className: 'hint' })
  const tools = make(
    'div',
    { className: 'field' },
    make('label', { htmlFor: 'brush-size', textContent: 'Brush' }),
    size,
    make('div', { className: 'actions' }, erase, clear),
  )
  const dialog = openDialog(
    'Change a picture',
    'viewer editor',
    place,
    make(
      'div',
      { className: 'facts' },
      make('div', { className: 'actions' }, choose, file),
      make(
        'div',
        { className: 'chips', role: 'group', ariaLabel: 'What says which part changes' },
        ...choices.map(({ element }) => element),
      ),
      tools,
      words.before,
      make(
        'div',
        { className: 'field' },
        make('label', { htmlFor: 'edit-prompt', textContent: 'What it shows then' }),
        prompt,
      ),
      words.sliders,
      hint,
      problem,
      make('div', { className: 'actions' }, draw, copying),
    ),
  )

  function setWay(chosen: Way): void {
    way = chosen
    const byWords = way === 'words'
    for (const { name, element } of choices) element.setAttribute('aria-pressed', String(name === way))
    for (const part of [words.before, words.sliders, copying]) part.hidden = !byWords
    tools.hidden = byWords
    painter?.setShown(!byWords)
    draw.textContent = ways[way].action
    hint.textContent = ways[way].hint
    tell('')
    if (byWords && image) void words.know(image)
  }

  function setErasing(erasing: boolean): void {
    if (painter) painter.erasing = erasing
    erase.setAttribute('aria-pressed', String(erasing))
  }

  function setUsable(usable: boolean): void {
    for (const control of [size, erase, clear, draw, copying]) control.disabled = !usable
  }

  async function take(given: Blob): Promise<void> {
    let picture: HTMLImageElement
    try {
      picture = await imageOf(given)
    } catch {
      tell('This is no picture that can be read.')
      return
    }
    tell('')
    forget()
    image = given
    painter = new Painter(picture)
    painter.setSize(Number(size.value) / 100)
    place.replaceChildren(painter.element)
    choose.textContent = 'Another picture'
    setErasing(false)
    setUsable(true)
    setWay(way)
    if (way === 'paint') painter.focus()
    else words.focus()
  }

  function forget(): void {
    const source = painter?.element.querySelector('img')?.src
    if (source) URL.revokeObjectURL(source)
  }

  /** What the dialog asks for; null where something is missing, which it says. */
  async function edited(): Promise<Edit | null> {
    const text = prompt.value.trim()
    if (!painter || !image) return null
    const { width, height } = painter
    const said = words.read()
    if (way === 'paint' && painter.empty) tell('Nothing is painted yet: paint what is to be drawn anew.')
    else if (way === 'words' && said.from === '') tell('Say what the picture shows now.')
    else if (text === '') tell('The prompt is empty: say what the picture shows then.')
    else {
      tell('')
      const change = way === 'paint' ? { image, mask: await painter.file() } : { image, ...said }
      return { change, prompt: text, size: { width, height } }
    }
    return null
  }

  async function submit(): Promise<void> {
    const edit = await edited()
    if (!edit) return
    options.draw(edit)
    dialog.close()
  }

  size.addEventListener('input', () => painter?.setSize(Number(size.value) / 100))
  file.addEventListener('change', () => {
    const [chosen] = file.files ?? []
    file.value = ''
    if (chosen) void take(chosen)
  })
  dialog.addEventListener('keydown', (event) => {
    if (!(event.target instanceof HTMLTextAreaElement)) return
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
    event.preventDefault()
    void submit()
  })
  dialog.addEventListener('close', () => {
    load = null
    forget()
  })
  load = take
  setWay('paint')
  setErasing(false)
  setUsable(false)
  if (first) void take(first)
  else choose.focus()
}
