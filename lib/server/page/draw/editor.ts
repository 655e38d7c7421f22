/** The dialog in which a part of a picture is painted, to be drawn anew. */
import { button, crisp, make, openDialog } from './dom.js'
import { Painter } from './painter.js'

/** What is changed, and into what. */
export interface Change {
  image: Blob
  /** A PNG of the picture's size, transparent where it is drawn. */
  mask: Blob
  prompt: string
}

export interface EditorOptions {
  /** To begin with. */
  prompt: string
  draw(change: Change): void
}

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
  const prompt = make('textarea', { id: 'edit-prompt', rows: 3, maxLength: 4096, value: options.prompt })
  const draw = button('Draw this part', () => void submit(), { className: 'primary' })
  const tools = make(
    'div',
    { className: 'field' },
    make('label', { htmlFor: 'brush-size', textContent: 'Brush' }),
    size,
    make('div', { className: 'actions' }, erase, clear),
  )
  const dialog = openDialog(
    'Change a part of a picture',
    'viewer editor',
    place,
    make(
      'div',
      { className: 'facts' },
      make('div', { className: 'actions' }, choose, file),
      tools,
      make(
        'div',
        { className: 'field' },
        make('label', { htmlFor: 'edit-prompt', textContent: 'What it shows then' }),
        prompt,
      ),
      make('p', {
        className: 'hint',
        textContent:
          'Paint what is to be drawn anew; the rest of the picture stays as it is. Other settings are those of the form.',
      }),
      problem,
      make('div', { className: 'actions' }, draw),
    ),
  )

  function setErasing(erasing: boolean): void {
    if (painter) painter.erasing = erasing
    erase.setAttribute('aria-pressed', String(erasing))
  }

  function setUsable(usable: boolean): void {
    for (const control of [size, erase, clear, draw]) control.disabled = !usable
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
    painter.focus()
  }

  function forget(): void {
    const source = painter?.element.querySelector('img')?.src
    if (source) URL.revokeObjectURL(source)
  }

  async function submit(): Promise<void> {
    const text = prompt.value.trim()
    if (!painter || !image) return
    if (painter.empty) tell('Nothing is painted yet: paint what is to be drawn anew.')
    else if (text === '') tell('The prompt is empty: say what the picture shows then.')
    else {
      options.draw({ image, mask: await painter.file(), prompt: text })
      dialog.close()
    }
  }

  size.addEventListener('input', () => painter?.setSize(Number(size.value) / 100))
  file.addEventListener('change', () => {
    const [chosen] = file.files ?? []
    file.value = ''
    if (chosen) void take(chosen)
  })
  prompt.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
    event.preventDefault()
    void submit()
  })
  dialog.addEventListener('close', () => {
    load = null
    forget()
  })
  load = take
  setErasing(false)
  setUsable(false)
  if (first) void take(first)
  else choose.focus()
}
