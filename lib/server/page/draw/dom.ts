/** Small helpers for the document. */

/** The element of that id, which the page's markup has. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id)
  if (!element) throw new Error(`the page has no #${id}`)
  return element as T
}

export const input = (id: string): HTMLInputElement => byId<HTMLInputElement>(id)
export const select = (id: string): HTMLSelectElement => byId<HTMLSelectElement>(id)
export const on = (id: string, event: string, handler: (event: Event) => void): void =>
  byId(id).addEventListener(event, handler)

type Child = Node | string

/** A new element with properties and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties)
  element.append(...children)
  return element
}

/** A button that does something. */
export function button(text: string, act: () => void, properties: Partial<HTMLButtonElement> = {}): HTMLButtonElement {
  const element = make('button', { type: 'button', textContent: text, ...properties })
  element.addEventListener('click', act)
  return element
}

/** Pictures of this size and less are shown with their pixels. */
const pixelatedUpTo = 128

/** Shows a picture's pixels where it has few of them. */
export function crisp(image: HTMLImageElement): HTMLImageElement {
  image.addEventListener('load', () => image.classList.toggle('pixelated', image.naturalWidth <= pixelatedUpTo))
  return image
}

let clearing = 0

/** Says something for a moment, also to screen readers. */
export function toast(text: string): void {
  const line = byId('toast')
  line.textContent = text
  line.classList.add('shown')
  window.clearTimeout(clearing)
  clearing = window.setTimeout(() => line.classList.remove('shown'), 3500)
}

export async function copy(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text)
    toast(`${what} copied`)
  } catch {
    // Without the permission, or without TLS off this machine, a browser has no clipboard for pages.
    const area = make('textarea', { value: text, className: 'sr' })
    document.body.append(area)
    area.select()
    const done = document.execCommand('copy')
    area.remove()
    toast(done ? `${what} copied` : 'this browser does not let the page copy')
  }
}

/** A dialog that is removed when it is closed: by its button, by Escape, or by a click beside it. */
export function openDialog(label: string, className: string, ...children: Child[]): HTMLDialogElement {
  const dialog = make('dialog', { className, ariaLabel: label })
  const close = button('Close', () => dialog.close(), { className: 'close' })
  dialog.append(...children, close)
  dialog.addEventListener('close', () => dialog.remove())
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close()
  })
  document.body.append(dialog)
  dialog.showModal()
  return dialog
}

/** Offers a file for saving. */
export function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob)
  make('a', { href: url, download: name }).click()
  window.setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

/** A file name out of a prompt. */
export const fileName = (prompt: string, seed: number, format: string): string =>
  `${prompt
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, '-')
    .replaceAll(/^-|-$/g, '')
    .slice(0, 60)}-${seed}.${format === 'jpeg' ? 'jpg' : format}`
