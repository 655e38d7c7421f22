/** `star edit`, `star vary` and `star morph` as users run them. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { Star } from '../../lib/index.js'
import { refused } from '../support/refusal.js'
import { star } from '../support/star-command.js'
import { tinySide, writeTinyModel } from '../support/tiny-model.js'

const root = t.testdir()
const at = (name: string): string => join(root, name)
const model = at('tiny')
writeTinyModel(model)

const bytes = Uint8Array.from({ length: tinySide ** 2 * 3 }, (_, i) => (i * 73) % 256)
const pixels = { width: tinySide, height: tinySide, data: bytes }
await sharp(bytes, { raw: { width: tinySide, height: tinySide, channels: 3 } })
  .png()
  .toFile(at('photo.png'))
const raw = (file: string): Promise<Buffer> => sharp(at(file)).removeAlpha().raw().toBuffer()
const run = (command: string, ...args: string[]) =>
  star([command, at('photo.png'), 'a red apple', '--model', model, '--device', 'cpu', ...args])

t.test('a box is drawn as in a program, and the rest keeps its bytes', async (t) => {
  t.match(await run('edit', '--box', '4,0,4,8', '--feather', '1', '--seed', '3', '--out', at('box.png')), {
    code: 0,
    stdout: `${at('box.png')}\n`,
    stderr: '',
  })
  const drawn = await raw('box.png')
  await using tiny = await Star.load(model, { device: 'cpu' })
  const mask = { x: 4, y: 0, width: 4, height: 8 }
  const { images } = await tiny.edit(pixels, { prompt: 'a red apple', mask, feather: 1, seed: 3 })
  t.same([...drawn], [...images[0].data])
  const left = (data: Uint8Array) => [...data].filter((_, i) => Math.floor(i / 3) % tinySide < 3)
  t.same(left(drawn), left(bytes))
  t.notSame([...drawn], [...bytes])
  const grey = Uint8Array.from({ length: tinySide ** 2 }, (_, i) => (i % tinySide >= 4 ? 255 : 0))
  await sharp(grey, { raw: { width: tinySide, height: tinySide, channels: 1 } })
    .png()
    .toFile(at('mask.png'))
  await run('edit', '--mask', at('mask.png'), '--feather', '1', '--seed', '3', '--out', at('masked.png'))
  t.same([...(await raw('masked.png'))], [...drawn])
})

t.test('a picture grows, and variations go beside it', async (t) => {
  await run('edit', '--extend', 'left=4,top=2', '--out', at('wide.webp'))
  t.match(await sharp(at('wide.webp')).metadata(), { width: tinySide + 4, height: tinySide + 2 })
  t.match(await run('vary', '--strength', '0.6', '--count', '2'), {
    code: 0,
    stdout: `${at('photo-1.png')}\n${at('photo-2.png')}\n`,
  })
  t.notSame(readFileSync(at('photo-1.png')), readFileSync(at('photo-2.png')))
  t.match(await run('vary', '--strength', '0'), { stdout: `${at('photo-3.png')}\n` })
  t.match(await Star.settingsOf(at('photo-3.png')), { prompt: 'a red apple', edited: { by: 'vary', strength: 0 } })
  refused(t, await star(['again', at('photo-3.png')]), /was made of another picture, which the file does not hold/)
})

t.test('an animation, and a picture guided away from a prompt', async (t) => {
  const tiny = ['--model', model, '--device', 'cpu']
  const film = at('film.gif')
  t.match(await star(['morph', 'a cat', 'a dog', '--frames', '3', '--out', film, ...tiny]), {
    code: 0,
    stdout: `${film}\n`,
  })
  t.match(await sharp(film).metadata(), { format: 'gif', width: tinySide, pages: 3 })
  t.match(await star(['morph', 'a cat', 'a dog', '--frames', '2', '--out', film, ...tiny]), {
    stdout: `${at('film-2.gif')}\n`,
  })
  refused(t, await star(['morph', 'a cat', 'a dog', '--out', at('film.png'), ...tiny]), /end it in \.gif or \.webp/)
  refused(t, await star(['again', film, ...tiny]), /is an animation of 3 pictures/)
  await star(['sample', 'a cat:1 and a dog:2', '--negative', 'a cow', '--out', at('pets.png'), ...tiny])
  t.match(await Star.settingsOf(at('pets.png')), { prompt: 'a cat:1 and a dog:2', negativePrompt: 'a cow' })
  t.match(await star(['again', at('pets.png'), '--model', model, '--out', at('pets-again.png')]), { code: 0 })
  t.same(readFileSync(at('pets-again.png')), readFileSync(at('pets.png')))
  refused(t, await star(['sample', 'a cat', '--negative', 'x', '--cfg', '0', ...tiny]), /no effect without guidance/)
  refused(t, await star(['sample', 'a cat:1 and a dog:x', ...tiny]), /the weight of the prompt "a dog" is "x"/)
})

t.test('words change a picture, and are shown in it', async (t) => {
  const words = ['--from', 'a red apple', '--to', 'a green apple']
  const tiny = ['--model', model, '--device', 'cpu']
  const how = ['--share', '0.5', '--strength', '1', '--seed', '3']
  t.match(await star(['edit', at('photo.png'), ...words, ...how, '--out', at('green.png'), ...tiny]), {
    code: 0,
    stdout: `${at('green.png')}\n`,
    stderr: '',
  })
  await using loaded = await Star.load(model, { device: 'cpu' })
  const options = { from: 'a red apple', to: 'a green apple', share: 0.5, strength: 1, seed: 3 }
  t.same([...(await raw('green.png'))], [...(await loaded.edit(pixels, options)).images[0].data])
  const shown = ['attention', 'a red apple', '--image', at('photo.png'), '--at-blocks', '0', '--out', at('words.png')]
  t.match(await star([...shown, ...tiny]), { code: 0, stdout: `${at('words.png')}\n`, stderr: '' })
  const maps = await loaded.attention('a red apple', { image: at('photo.png'), blocks: [0] })
  t.same(readFileSync(at('words.png')), Buffer.from(await maps.toBuffer()))
  t.match(await star(['attention', 'a cat', '--out', at('cat.png'), ...tiny]), { code: 0 })

  const edit = (...args: string[]) => star(['edit', at('photo.png'), ...args, '--out', at('none.png'), ...tiny])
  refused(t, await edit(...words.slice(2)), /give both, and no prompt beside them/)
  refused(t, await edit('a cat', ...words), /give both, and no prompt beside them/)
  refused(t, await edit(), /the prompt is missing/)
  refused(t, await edit(...words, '--box', '0,0,4,4'), /--box goes with a mask/)
  refused(t, await edit(...words, '--soft-edge'), /--soft-edge goes with a mask/)
  refused(t, await edit('--from', 'a cat', '--to', 'A cat'), /expected other words in one/)
  refused(t, await edit('a cat', '--box', '0,0,4,4', '--size', '8x8'), /--size goes with --from and --to/)
  refused(t, await edit('a cat', '--box', '0,0,4,4', '--share', '0.5'), /--share goes with --from and --to/)
  refused(t, await star(['attention', 'a cat', '--out', at('none.jpg'), ...tiny]), /end it in \.png/)
  refused(
    t,
    await star(['attention', 'a cat', '--at-scales', '1,x', '--out', at('none.png'), ...tiny]),
    /--at-scales is "1,x"/,
  )
  refused(
    t,
    await star(['attention', 'a cat', '--at-blocks', '7', '--out', at('none.png'), ...tiny]),
    /blocks are \[7\]/,
  )
  t.notOk(existsSync(at('none.png')))
})

t.test('mistakes are one line, and nothing is written', async (t) => {
  writeFileSync(at('text.png'), 'no picture')
  const out = ['--out', at('none.png')]
  refused(t, await run('edit', ...out), /nothing says which part of the picture is drawn/)
  refused(t, await run('edit', '--box', '1,2,3', ...out), /--box is "1,2,3", expected x,y,width,height/)
  refused(t, await run('edit', '--box', '4,4,8,8', ...out), /the box is x 4, y 4, width 8, height 8/)
  refused(t, await run('edit', '--extend', 'up=4', ...out), /--extend is "up=4"/)
  refused(t, await run('edit', '--mask', at('text.png'), ...out), /text\.png is no picture that can be read/)
  refused(t, await run('edit', '--mask', at('box.png'), '--box', '0,0,1,1', ...out), /cannot be used with option/)
  refused(t, await run('vary', '--strength', '2', ...out), /--strength is "2", expected a number from 0 to 1/)
  refused(t, await star(['vary', at('missing.png'), 'a cat', '--model', model, ...out]), /there is no such file/)
  t.notOk(existsSync(at('none.png')))
})
