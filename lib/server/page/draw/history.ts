/** Prompts that were drawn before: the arrow keys bring them back, as in a shell. */

const key = 'star-t2i.prompts'
const most = 100

function kept(): string[] {
  try {
    const list: unknown = JSON.parse(localStorage.getItem(key) ?? '[]')
    return Array.isArray(list) ? list.filter((text): text is string => typeof text === 'string') : []
  } catch {
    return []
  }
}

let prompts = kept()
/** Place in the list, from the newest; −1 is what is being written. */
let place = -1
let written = ''

export function rememberPrompt(prompt: string): void {
  prompts = [prompt, ...prompts.filter((other) => other !== prompt)].slice(0, most)
  place = -1
  localStorage.setItem(key, JSON.stringify(prompts))
}

/** Lets ↑ in the first line and ↓ in the last one go through earlier prompts. */
export function attachHistory(area: HTMLTextAreaElement): void {
  area.addEventListener('keydown', (event) => {
    const up = event.key === 'ArrowUp'
    if ((!up && event.key !== 'ArrowDown') || event.shiftKey || event.altKey || event.ctrlKey || event.metaKey) return
    const { value, selectionStart, selectionEnd } = area
    if (selectionStart !== selectionEnd) return
    const beyond = up ? !value.slice(0, selectionStart).includes('\n') : !value.slice(selectionEnd).includes('\n')
    const next = place + (up ? 1 : -1)
    if (!beyond || next < -1 || next >= prompts.length) return
    if (place === -1) written = value
    place = next
    area.value = place === -1 ? written : prompts[place]
    area.setSelectionRange(area.value.length, area.value.length)
    area.dispatchEvent(new Event('input'))
    event.preventDefault()
  })
}
