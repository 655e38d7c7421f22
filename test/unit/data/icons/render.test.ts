import sharp from 'sharp'
import t from 'tap'
import { renderIcon, signatureDistance } from '../../../../lib/data/icons/render.js'

const svg = (body: string) =>
  Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="512" height="512" viewBox="0 0 64 64">${body}</svg>`)

async function boxOf(image: Buffer): Promise<number[]> {
  const { data, info } = await sharp(image).raw().toBuffer({ resolveWithObject: true })
  t.equal(info.channels, 3)
  const xs: number[] = []
  const ys: number[] = []
  for (let i = 0; i < data.length; i += 3)
    if (Math.min(...data.subarray(i, i + 3)) < 128) {
      xs.push((i / 3) % info.width)
      ys.push(Math.floor(i / 3 / info.width))
    }
  return [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)]
}

t.test('what can be seen is centred with a margin', async (t) => {
  const wide = await renderIcon(svg('<rect x="0" y="10" width="60" height="20" fill="#d22"/>'), 'wide', 100)
  const [left, right, top, bottom] = await boxOf(wide.image)
  t.same([left, right], [6, 93])
  t.ok(Math.abs(top - (99 - bottom)) <= 1 && Math.abs(bottom - top + 1 - 88 / 3) <= 1, `${top} to ${bottom}`)
})

t.test('a dot stays small', async (t) => {
  const [left, right] = await boxOf((await renderIcon(svg('<circle cx="9" cy="9" r="4"/>'), 'dot', 64)).image)
  t.ok(right - left + 1 <= 14, `${right - left + 1} pixels`)
})

t.test('what does not render is refused by name', async (t) => {
  await t.rejects(renderIcon(svg(''), 'noto/nothing', 64), {
    code: 'ERR_FILE',
    message: /noto\/nothing.*nothing can be seen/,
  })
  await t.rejects(renderIcon(Buffer.from('<svg><g></svg>'), 'noto/broken', 64), {
    code: 'ERR_FILE',
    message: /noto\/broken/,
  })
})

t.test('silhouettes are told from drawings of grey things', async (t) => {
  const seen = async (body: string) => (await renderIcon(svg(body), 'x', 256)).monochrome
  t.ok(await seen('<circle cx="32" cy="32" r="30"/>'))
  t.ok(await seen('<path d="M5 5 L60 60 M60 5 L5 60" stroke="#444" stroke-width="6"/>'))
  t.ok(await seen('<circle cx="32" cy="32" r="30" fill="#fafaf5"/>'), 'nearly white')
  t.notOk(await seen('<circle cx="32" cy="32" r="30" fill="#c33"/>'))
  const shaded = [40, 80, 120, 160, 200].map(
    (v, i) => `<rect x="${i * 12}" width="12" height="60" fill="rgb(${v},${v},${v})"/>`,
  )
  t.notOk(await seen(shaded.join('')))
})

t.test('nearly equal pictures have signatures close together', async (t) => {
  const drawn = async (body: string) => (await renderIcon(svg(body), 'x', 64)).signature
  const red = await drawn('<circle cx="32" cy="32" r="30" fill="#c33"/>')
  t.ok(signatureDistance(red, await drawn('<circle cx="32" cy="32" r="30" fill="#c53535"/>')) < 5)
  t.ok(signatureDistance(red, await drawn('<rect x="2" y="2" width="60" height="60" fill="#c33"/>')) > 5)
})
