/** The page that makes pictures: brings its parts together. */
import { type Drawing, type Model, models, type Settings, settingsOf } from './api.js'
import { type CopyKind, copyKinds, copyText } from './copy-as.js'
import { button, byId, copy, input, on, select, toast } from './dom.js'
import { type Edit, givenToEditor, openEditor } from './editor.js'
import * as form from './form.js'
import { Gallery } from './gallery.js'
import { numbers, planGrid } from './grid.js'
import { attachHistory, rememberPrompt } from './history.js'
import { Stage } from './stage.js'
import type { Stored } from './store.js'
import { view } from './viewer.js'

const prompt = byId<HTMLTextAreaElement>('prompt')
const stage = new Stage({
  onStored: (picture) => gallery.add(picture),
  open: show,
  onBusy: setBusy,
  onClear: () => setIntro(false),
})
const gallery = new Gallery(show)
let known: Model[] = []

function show(picture: Stored): void {
  view(picture, {
    use,
    copyAs: (kind, settings) =>
      copyAs(kind as CopyKind, { ...settings, speed: form.presetOf(settings.speed) ?? 'full', count: 1 }),
    change: ({ file, prompt }) => change(file, prompt),
    remove: (gone) => void gallery.remove([gone]),
    beside: (from, by) => gallery.beside(from, by),
  })
}

/** Lets a picture be changed, with the settings of the form. */
function change(picture: Blob | null, text = prompt.value.trim()): void {
  const drawingOf = ({ change, prompt: shown, size }: Edit, drawing: Drawing): Drawing => ({
    ...{ ...drawing, prompt: shown, change },
    // Where a part is painted the picture keeps its size; words draw one of the model's, the picture's own where it is among them.
    size: 'mask' in change ? undefined : form.offeredSize(size, drawing.size),
  })
  openEditor(picture, {
    prompt: text,
    draw: (edit) => {
      rememberPrompt(edit.prompt)
      void stage.single(drawingOf(edit, form.read()))
      showStage()
    },
    copyAs: (kind, edit) => copyAs(kind as CopyKind, drawingOf(edit, form.peek())),
  })
}

function use(settings: Settings): void {
  const missing = form.fill(settings)
  toast(missing ?? 'prompt and settings are in the form')
  prompt.focus()
}

function setIntro(shown: boolean): void {
  byId('intro').hidden = !shown
  byId('model-line').setAttribute('aria-expanded', String(shown))
}

function setBusy(busy: boolean): void {
  byId('cancel').hidden = !busy
  byId('draw').textContent = busy ? 'Draw anew' : 'Draw'
}

function copyAs(kind: CopyKind, drawing: Drawing): void {
  const model = known.find(({ id }) => id === drawing.model) ?? form.currentModel()
  void copy(copyText(kind, drawing, model), copyKinds[kind])
}

/** What draws, or says how, waits for the models and their settings. */
function setReady(): void {
  for (const id of ['draw', 'edit-picture']) byId<HTMLButtonElement>(id).disabled = false
  select('copy-as').disabled = false
}

function submit(): void {
  if (known.length === 0) return
  const element = byId<HTMLFormElement>('form')
  if (!element.checkValidity()) {
    // What is wrong may lie in the folded part, where a browser cannot show it.
    if (element.querySelector('#more :invalid')) byId<HTMLDetailsElement>('more').open = true
    element.reportValidity()
    return
  }
  const drawing = form.read()
  rememberPrompt(drawing.prompt)
  const guidance = select('columns').value === 'guidance' ? numbers(input('guidance-values').value) : null
  try {
    const plan = planGrid(drawing, guidance)
    void (plan ? stage.grid(plan) : stage.single(drawing))
    showStage()
  } catch (error) {
    stage.problem((error as Error).message)
  }
}

/** On a phone the pictures are below the form. */
function showStage(): void {
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches
  if (matchMedia('(max-width: 52rem)').matches)
    byId('stage').scrollIntoView({ behavior: calm ? 'auto' : 'smooth', block: 'start' })
}

/** What a model says of itself, and prompts to begin with. */
function introduce(model: Model): void {
  const size = model.image_size ? `${model.image_size} × ${model.image_size} pixels` : ''
  byId('model-line').textContent = [model.id, size].filter(Boolean).join(', ')
  byId('intro-title').textContent = `What ${model.id} draws`
  byId('about').textContent = model.about || 'The card of this model does not say.'
  const examples = model.examples.map((text) =>
    button(text, () => {
      form.setPrompt(text)
      submit()
    }),
  )
  byId('examples').replaceChildren(...examples)
  byId('examples').hidden = examples.length === 0
  const styles = model.styles.map((style) =>
    button(style, () => {
      const with_ = `, ${style}`
      form.setPrompt(
        prompt.value.includes(with_) ? prompt.value.replace(with_, '') : `${prompt.value.trimEnd()}${with_}`,
      )
    }),
  )
  byId('styles').replaceChildren(...styles)
  byId('styles').hidden = styles.length === 0
}

/** Which styles the prompt has, and what its braces would make. */
function follow(): void {
  for (const chip of byId('styles').children)
    chip.setAttribute('aria-pressed', String(prompt.value.includes(`, ${chip.textContent}`)))
  const note = byId('grid-note')
  note.hidden = true
  try {
    const guidance = select('columns').value === 'guidance' ? numbers(input('guidance-values').value) : null
    const plan = planGrid(form.peek(), guidance)
    if (!plan) return
    note.textContent = `A grid of ${plan.rows.length} × ${plan.columns.length} pictures`
  } catch (error) {
    note.textContent = (error as Error).message
  }
  note.hidden = false
}

async function restore(file: File | undefined): Promise<void> {
  if (!file || givenToEditor(file)) return
  try {
    use(await settingsOf(file))
  } catch (error) {
    toast(error instanceof Error ? error.message : String(error))
  }
}

function attachKeys(): void {
  prompt.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
    event.preventDefault()
    submit()
  })
  document.addEventListener('keydown', (event) => {
    if (document.querySelector('dialog[open]')) return
    const writing = /^(INPUT|TEXTAREA|SELECT)$/.test((event.target as HTMLElement).tagName)
    if (event.key === 'Escape' && stage.busy) stage.cancel()
    else if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) submit()
    else if (event.key === '/' && !writing) {
      event.preventDefault()
      if (byId('gallery').hidden) prompt.focus()
      else input('search').focus()
    }
  })
}

function attachDrop(): void {
  let depth = 0
  const zone = byId('drop')
  const carriesFile = (event: DragEvent): boolean => event.dataTransfer?.types.includes('Files') ?? false
  const set = (value: number): void => {
    depth = value
    zone.hidden = depth === 0
  }
  document.addEventListener('dragenter', (event) => carriesFile(event) && set(depth + 1))
  document.addEventListener('dragleave', (event) => carriesFile(event) && set(Math.max(0, depth - 1)))
  document.addEventListener('dragover', (event) => event.preventDefault())
  document.addEventListener('drop', (event) => {
    event.preventDefault()
    set(0)
    void restore(event.dataTransfer?.files[0])
  })
  document.addEventListener('paste', (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith('image/'))
    if (file) void restore(file)
  })
  on('edit-picture', 'click', () => change(null))
  on('open-picture', 'click', () => input('picture-file').click())
  on('picture-file', 'change', () => {
    void restore(input('picture-file').files?.[0])
    input('picture-file').value = ''
  })
}

async function start(): Promise<void> {
  try {
    known = await models()
  } catch (error) {
    setIntro(false)
    stage.problem(error instanceof Error ? error.message : String(error), () => {
      stage.problem(null)
      setIntro(true)
      void start()
    })
    return
  }
  form.start(known, (model) => {
    introduce(model)
    follow()
  })
  setReady()
  follow()
}

byId('form').addEventListener('submit', (event) => {
  event.preventDefault()
  submit()
})
byId('form').addEventListener('input', follow)
on('cancel', 'click', () => stage.cancel())
on('model-line', 'click', () => setIntro(byId('intro').hidden !== false))
on('copy-as', 'change', () => {
  const kind = select('copy-as').value
  select('copy-as').value = ''
  if (kind) copyAs(kind as CopyKind, form.peek())
})
attachHistory(prompt)
attachKeys()
attachDrop()
gallery.start().catch((error: unknown) => toast(`this browser keeps no gallery: ${String(error)}`))
void start().then(() => {
  // On a phone that would bring up the keyboard.
  if (matchMedia('(hover: hover)').matches) prompt.focus()
})
