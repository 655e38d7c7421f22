/** The LoRAs of a model: which are chosen, and how strongly. */
import type { ChosenLora, Model } from './api.js'
import { byId, input, make } from './dom.js'

let offered: Model['loras'] = []

const boxOf = (i: number): HTMLInputElement => input(`lora-${i}`)
const strengthOf = (i: number): HTMLInputElement => input(`lora-${i}-strength`)

function set(i: number, strength: number): void {
  boxOf(i).checked = strength !== 0
  strengthOf(i).disabled = strength === 0
  // What it had stays, for when it is chosen again.
  if (strength !== 0) strengthOf(i).value = String(strength)
}

/** Offers those of a model, as the server would apply them. */
export function offerLoras({ loras }: Model): void {
  offered = loras
  byId('loras').hidden = loras.length === 0
  byId('lora-list').replaceChildren(
    ...loras.map(({ name }, i) => {
      const box = make('input', { type: 'checkbox', id: `lora-${i}` })
      const label = make('label', {}, box, ` ${name}`)
      const strength = make('input', { type: 'number', id: `lora-${i}-strength`, ariaLabel: `Strength of ${name}` })
      Object.assign(strength, { min: '-10', max: '10', step: 'any', value: '1', required: true })
      box.addEventListener('change', () => {
        strength.disabled = !box.checked
      })
      return make('div', { className: 'pick' }, label, strength)
    }),
  )
  resetLoras()
}

/** Back to what the server applies by itself. */
export function resetLoras(): void {
  for (const [i, { strength }] of offered.entries()) set(i, strength)
}

/** What is chosen; undefined where there is nothing to choose. */
export function chosenLoras(): ChosenLora[] | undefined {
  if (offered.length === 0) return undefined
  return offered.flatMap(({ name, source }, i) =>
    boxOf(i).checked ? [{ name, path: source, strength: Number(strengthOf(i).value) }] : [],
  )
}

/** Chooses those, and no others. @returns the paths of those that the model does not have here */
export function chooseLoras(wanted: readonly ChosenLora[]): string[] {
  for (const [i, { source }] of offered.entries()) set(i, wanted.find(({ path }) => path === source)?.strength ?? 0)
  if (wanted.length > 0) byId<HTMLDetailsElement>('loras').open = true
  return wanted.map(({ path }) => path).filter((path) => !offered.some(({ source }) => source === path))
}
