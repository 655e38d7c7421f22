/** A picture with a mask over it, which is painted with mouse, pen, finger or keys. */
import { make } from './dom.js'

interface Point {
  x: number
  y: number
}

/** A press of an arrow key moves the brush by this part of its width. */
const keyStep = 0.25

export class Painter {
  /** Picture, mask and brush over each other, at the picture's ratio of sides. */
  readonly element: HTMLElement
  readonly width: number
  readonly height: number
  /** Takes paint away in place of adding it. */
  erasing = false
  readonly #canvas: HTMLCanvasElement
  readonly #context: CanvasRenderingContext2D
  readonly #ring = make('div', { className: 'ring', hidden: true })
  /** Diameter of the brush, as a share of the picture's shorter side. */
  #size = 0.2
  /** Where the brush is, in pixels of the picture. */
  #at: Point
  /** Whether the brush is on the picture: by pointer, or by the space bar. */
  #down = false

  constructor(picture: HTMLImageElement) {
    const { naturalWidth: width, naturalHeight: height } = picture
    this.width = width
    this.height = height
    this.#at = { x: width / 2, y: height / 2 }
    this.#canvas = make('canvas', {
      width,
      height,
      tabIndex: 0,
      role: 'application',
      ariaLabel: 'What is drawn anew: paint it. With keys, the arrows move the brush and the space bar paints.',
    })
    this.#context = this.#canvas.getContext('2d', { willReadFrequently: true })!
    this.element = make('div', { className: 'painter' }, picture, this.#canvas, this.#ring)
    this.element.style.setProperty('--ratio', String(width / height))
    this.#attachPointer()
    this.#attachKeys()
  }

  get #diameter(): number {
    return Math.max(1, this.#size * Math.min(this.width, this.height))
  }

  /** @param share of the picture's shorter side */
  setSize(share: number): void {
    this.#size = share
    this.#place()
  }

  /** Whether nothing is painted. */
  get empty(): boolean {
    const { data } = this.#context.getImageData(0, 0, this.width, this.height)
    for (let i = 3; i < data.length; i += 4) if (data[i] > 0) return false
    return true
  }

  clear(): void {
    this.#context.clearRect(0, 0, this.width, this.height)
  }

  /** The mask as a PNG of the picture's size: transparent where it is painted. */
  async file(): Promise<Blob> {
    const canvas = make('canvas', { width: this.width, height: this.height })
    const context = canvas.getContext('2d')!
    context.fillRect(0, 0, this.width, this.height)
    context.globalCompositeOperation = 'destination-out'
    context.drawImage(this.#canvas, 0, 0)
    return new Promise((resolve, reject) => {
      canvas.toBlob(
        (blob) => (blob ? resolve(blob) : reject(new Error('this browser cannot write the mask'))),
        'image/png',
      )
    })
  }

  /** Shows what is painted, and lets it be painted, or the picture alone. */
  setShown(shown: boolean): void {
    this.#canvas.hidden = !shown
  }

  focus(): void {
    this.#canvas.focus()
  }

  /** A line from one point to another, as wide as the brush. */
  #stroke(from: Point, to: Point): void {
    const context = this.#context
    context.globalCompositeOperation = this.erasing ? 'destination-out' : 'source-over'
    context.lineWidth = this.#diameter
    context.lineCap = 'round'
    context.strokeStyle = context.fillStyle = getComputedStyle(this.#canvas).color
    context.beginPath()
    context.moveTo(from.x, from.y)
    context.lineTo(to.x, to.y)
    context.stroke()
    // A line of no length has no ends to be round.
    context.beginPath()
    context.arc(to.x, to.y, this.#diameter / 2, 0, 2 * Math.PI)
    context.fill()
  }

  #move(to: Point): void {
    const from = this.#at
    this.#at = { x: Math.max(0, Math.min(this.width, to.x)), y: Math.max(0, Math.min(this.height, to.y)) }
    if (this.#down) this.#stroke(from, this.#at)
    this.#place()
  }

  /** Shows where the brush is, and how large. */
  #place(): void {
    const { style } = this.#ring
    style.left = `${(100 * this.#at.x) / this.width}%`
    style.top = `${(100 * this.#at.y) / this.height}%`
    style.width = `${(100 * this.#diameter) / this.width}%`
  }

  #pointOf({ clientX, clientY }: PointerEvent): Point {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect()
    return { x: ((clientX - left) / width) * this.width, y: ((clientY - top) / height) * this.height }
  }

  #attachPointer(): void {
    const canvas = this.#canvas
    canvas.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return
      canvas.setPointerCapture(event.pointerId)
      this.#at = this.#pointOf(event)
      this.#down = true
      this.#ring.hidden = false
      this.#move(this.#at)
    })
    canvas.addEventListener('pointermove', (event) => {
      this.#ring.hidden = false
      // Between two frames a pen may have made a curve.
      for (const one of event.getCoalescedEvents?.() ?? []) this.#move(this.#pointOf(one))
      this.#move(this.#pointOf(event))
    })
    const lift = (): void => {
      this.#down = false
    }
    canvas.addEventListener('pointerup', lift)
    canvas.addEventListener('pointercancel', lift)
    canvas.addEventListener('pointerleave', () => {
      this.#ring.hidden = document.activeElement !== canvas
    })
  }

  #attachKeys(): void {
    const canvas = this.#canvas
    const directions: Record<string, readonly [number, number]> = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    }
    canvas.addEventListener('keydown', (event) => {
      const direction = directions[event.key]
      if (direction) {
        const step = Math.max(1, keyStep * this.#diameter)
        this.#move({ x: this.#at.x + step * direction[0], y: this.#at.y + step * direction[1] })
      } else if (event.key === ' ') {
        this.#down = true
        this.#move(this.#at)
      } else return
      event.preventDefault()
    })
    canvas.addEventListener('keyup', (event) => {
      if (event.key === ' ') this.#down = false
    })
    canvas.addEventListener('focus', () => {
      this.#ring.hidden = false
      this.#place()
    })
    canvas.addEventListener('blur', () => {
      this.#down = false
      this.#ring.hidden = true
    })
  }
}
