/** What to draw: the form, what it remembers, and its way back to a model's defaults. */
import { type Drawing, type Model, type Settings, type Size, type Speed, sizeText, speeds } from './api.js'
import { byId, input, make, on, select } from './dom.js'
import { chooseLoras, chosenLoras, offerLoras, resetLoras } from './loras.js'

const remembered = 'star-t2i.form'
/** Seeds of six digits, which people can read to each other. */
const mostSeed = 1_000_000
/** A range that is moved in steps, and the number beside it that takes any value. */
const sliders = ['cfg', 'top-k', 'top-p'] as const

const prompt = byId<HTMLTextAreaElement>('prompt')
let models: Model[] = []

export const currentModel = (): Model => models.find(({ id }) => id === select('model').value) ?? models[0]
const number = (id: string): number => Number(input(id).value)

function setSlider(id: (typeof sliders)[number], value: number): void {
  input(`${id}-value`).value = String(value)
  input(id).value = String(value)
}

export function setLocked(locked: boolean): void {
  const lock = byId('seed-lock')
  lock.setAttribute('aria-pressed', String(locked))
  lock.textContent = locked ? 'Locked' : 'Lock'
}

const isLocked = (): boolean => byId('seed-lock').getAttribute('aria-pressed') === 'true'
const randomSeed = (): number => crypto.getRandomValues(new Uint32Array(1))[0] % mostSeed

export function setDefaults(): void {
  const { defaults } = currentModel()
  setSlider('cfg', defaults?.cfg ?? 4)
  setSlider('top-k', defaults?.top_k ?? 600)
  setSlider('top-p', defaults?.top_p ?? 0.8)
  select('speed').value = defaults?.speed ?? 'full'
  resetLoras()
}

/** What the model has to choose from: sizes, its own square first, and LoRAs. */
function setChoices(): void {
  offerLoras(currentModel())
  const { image_size: side, sizes } = currentModel()
  const own = `${side}x${side}`
  const options = sizes.filter((text) => text !== own).map((text) => ({ value: text, text: text.replace('x', ' × ') }))
  select('size').replaceChildren(
    ...[{ value: '', text: side ? `${side} × ${side}` : 'the model’s' }, ...options].map(({ value, text }) =>
      make('option', { value, textContent: text }),
    ),
  )
  byId('size-field').hidden = options.length === 0
}

/** Chooses a size where the model offers it. */
function setSize(size: Size | undefined): boolean {
  const wanted = size ? sizeText(size) : ''
  const known = [...select('size').options].some(({ value }) => value === wanted)
  select('size').value = known ? wanted : ''
  return known
}

/** A size as the form would say it, undefined for the model's own; another one where the form does not offer it. */
export function offeredSize(size: Size, other: Size | undefined): Size | undefined {
  const { image_size: side } = currentModel()
  if (size.width === side && size.height === side) return undefined
  return [...select('size').options].some(({ value }) => value === sizeText(size)) ? size : other
}

function sizeOf(text: string): Size | undefined {
  if (text === '') return undefined
  const [width, height] = text.split('x').map(Number)
  return { width, height }
}

/** What the form asks for, with a new seed where it is not locked. */
export function read(): Drawing {
  if (!isLocked()) input('seed').value = String(randomSeed())
  return peek()
}

/** What the form asks for, as it stands. */
export const peek = (): Drawing => ({
  model: currentModel().id,
  prompt: prompt.value.trim(),
  count: number('count'),
  seed: number('seed'),
  size: sizeOf(select('size').value),
  lora: chosenLoras(),
  cfg: number('cfg-value'),
  topK: number('top-k-value'),
  topP: number('top-p-value'),
  speed: select('speed').value as Speed,
})

export const presetOf = (speed: Settings['speed']): Speed | undefined => speeds.find((name) => name === speed)

/** Fills the form with what a picture was made with. @returns what cannot be had here */
export function fill({ prompt: text, model, seed, size, lora, cfg, topK, topP, speed }: Settings): string | null {
  prompt.value = text
  input('seed').value = String(seed)
  input('count').value = '1'
  setLocked(true)
  const known = models.some(({ id }) => id === model)
  if (known && select('model').value !== model) {
    select('model').value = model
    select('model').dispatchEvent(new Event('change'))
  }
  const offered = setSize(size)
  const [missing] = chooseLoras(lora ?? [])
  setSlider('cfg', cfg)
  setSlider('top-k', topK)
  setSlider('top-p', topP)
  select('speed').value = presetOf(speed) ?? 'full'
  remember()
  prompt.dispatchEvent(new Event('input'))
  if (!known) return `the model ${model} is not on this server; ${currentModel().id} draws something else`
  if (missing) return `the LoRA ${missing} is not among those of ${currentModel().id} on this server`
  if (!offered) return `the size ${sizeText(size!)} is not among those that this page offers`
  return typeof speed === 'object' ? 'the picture leaves out what no preset of this page does' : null
}

export function setPrompt(text: string): void {
  prompt.value = text
  prompt.dispatchEvent(new Event('input'))
}

function remember(): void {
  const { prompt: text, ...rest } = peek()
  localStorage.setItem(remembered, JSON.stringify({ ...rest, text, locked: isLocked() }))
}

function recall(): void {
  let kept: Partial<Drawing & { text: string; locked: boolean }> = {}
  try {
    kept = JSON.parse(localStorage.getItem(remembered) ?? '{}') as typeof kept
  } catch {
    // What another version wrote is not worth a message.
    localStorage.removeItem(remembered)
  }
  // A page of a run leads here with the name of its model.
  const asked = new URLSearchParams(location.search).get('model')
  const wanted = [asked, kept.model].find((id) => models.some((model) => model.id === id))
  if (wanted) select('model').value = wanted
  setChoices()
  setDefaults()
  prompt.value = kept.text ?? ''
  input('count').value = String(kept.count ?? 4)
  input('seed').value = String(kept.seed ?? randomSeed())
  setLocked(kept.locked ?? false)
  if (kept.model !== currentModel().id) return
  setSize(kept.size)
  if (kept.lora) chooseLoras(kept.lora)
  if (kept.cfg !== undefined) setSlider('cfg', kept.cfg)
  if (kept.topK !== undefined) setSlider('top-k', kept.topK)
  if (kept.topP !== undefined) setSlider('top-p', kept.topP)
  select('speed').value = presetOf(kept.speed) ?? select('speed').value
}

/** Fills in the models and what was there last time. */
export function start(given: Model[], onModel: (model: Model) => void): void {
  models = given
  select('model').replaceChildren(...models.map(({ id }) => make('option', { value: id, textContent: id })))
  byId('model-row').hidden = models.length < 2
  recall()
  for (const id of sliders) {
    on(id, 'input', () => {
      input(`${id}-value`).value = input(id).value
    })
    on(`${id}-value`, 'input', () => {
      input(id).value = input(`${id}-value`).value
    })
  }
  const move = (by: number) => () => {
    input('seed').value = String(Math.max(0, number('seed') + by))
    setLocked(true)
    remember()
  }
  on('seed-down', 'click', move(-1))
  on('seed-up', 'click', move(1))
  on('seed', 'input', () => setLocked(true))
  on('seed-lock', 'click', () => {
    setLocked(!isLocked())
    remember()
  })
  on('columns', 'change', () => {
    byId('guidance-values-field').hidden = select('columns').value !== 'guidance'
  })
  on('defaults', 'click', () => {
    setDefaults()
    remember()
  })
  on('model', 'change', () => {
    setChoices()
    setDefaults()
    onModel(currentModel())
  })
  byId('form').addEventListener('change', remember)
  onModel(currentModel())
}
