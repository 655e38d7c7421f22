import t from 'tap'
import { colourName, mainColour } from '../../../lib/data/colour.js'

t.test('pixels have the names people give them', async (t) => {
  const cases: [[number, number, number], string | null][] = [
    [[220, 30, 40], 'red'],
    [[110, 20, 20], 'brown'],
    [[120, 72, 40], 'brown'],
    [[250, 130, 20], 'orange'],
    [[255, 200, 40], 'yellow'],
    [[255, 176, 46], 'yellow'],
    [[60, 170, 70], 'green'],
    [[40, 110, 230], 'blue'],
    [[60, 180, 240], 'blue'],
    [[130, 60, 210], 'purple'],
    [[245, 110, 190], 'pink'],
    [[255, 190, 200], 'pink'],
    [[255, 220, 190], null],
    [[255, 255, 255], null],
    [[128, 128, 135], null],
    [[0, 0, 0], null],
    [[20, 200, 200], null],
  ]
  for (const [rgb, name] of cases) t.equal(colourName(...rgb), name, rgb.join())
})

t.test('the main colour counts what is drawn on white', async (t) => {
  const picture = (pixels: [number, [number, number, number]][]) =>
    Uint8Array.from(pixels.flatMap(([n, rgb]) => Array.from({ length: n }, () => rgb).flat()))
  t.same(
    mainColour(
      picture([
        [100, [255, 255, 255]],
        [6, [220, 30, 40]],
        [3, [40, 110, 230]],
        [1, [0, 0, 0]],
      ]),
    ),
    { name: 'red', share: 0.6, next: 0.3 },
  )
  t.equal(mainColour(picture([[10, [255, 255, 255]]])), null)
  t.equal(mainColour(picture([[10, [90, 90, 90]]])), null)
})
