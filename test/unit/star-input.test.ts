/** What callers give by mistake, one line each: the call, and the error that answers it. */
import { join } from 'node:path'
import t from 'tap'
import { encodePng } from '../../lib/data/index.js'
import { imageGrid, Star, StarImage } from '../../lib/index.js'
import { writeTinyModel } from '../support/tiny-model.js'

const root = t.testdir({ 'junk.pth': 'not weights at all' })
const folder = join(root, 'tiny')
writeTinyModel(folder)
const junk = join(root, 'junk.pth')

/** A value of the wrong type. */
const wrong = (value: unknown): never => value as never
const circular: { self?: unknown } = {}
circular.self = circular
const png = (text: Record<string, string>): Uint8Array =>
  encodePng({ width: 1, height: 1, data: new Uint8Array(3), text })

type Row = [name: string, call: (star: Star) => Promise<unknown>, code: string, message: RegExp]

const prompts: Row[] = [
  ['a number', (star) => star.generate(wrong(5)), 'ERR_ARGUMENT', /a prompt is 5, expected a text/],
  ['null', (star) => star.generate(wrong(null)), 'ERR_ARGUMENT', /a prompt is null/],
  ['nothing', (star) => star.generate(wrong(undefined)), 'ERR_ARGUMENT', /a prompt is undefined/],
  ['an object', (star) => star.generate(wrong({ a: 1 })), 'ERR_ARGUMENT', /a prompt is \{"a":1\}/],
  ['an object that contains itself', (star) => star.generate(wrong(circular)), 'ERR_ARGUMENT', /contains itself/],
  ['a symbol', (star) => star.generate(wrong(Symbol('x'))), 'ERR_ARGUMENT', /a prompt is Symbol\(x\)/],
  ['one of several', (star) => star.generate(['a', wrong(7n)]), 'ERR_ARGUMENT', /a prompt is 7n/],
  ['an empty text', (star) => star.generate(' \n'), 'ERR_ARGUMENT', /the prompt is empty/],
  ['none', (star) => star.generate([]), 'ERR_ARGUMENT', /no prompt was given/],
  ['a long text', (star) => star.generate('x'.repeat(5000)), 'ERR_ARGUMENT', /5000 characters, at most 4096/],
]

const generate =
  (options: unknown): Row[1] =>
  (star) =>
    star.generate('a', wrong(options))

const options: Row[] = [
  ['null', generate(null), 'ERR_ARGUMENT', /the options of generate are null, expected an object/],
  ['a list', generate([]), 'ERR_ARGUMENT', /the options of generate are \[\]/],
  ['a text', generate('fast'), 'ERR_ARGUMENT', /the options of generate are "fast"/],
  ['a bigint as seed', generate({ seed: 5n }), 'ERR_CONFIG', /"seed" is 5n, expected number/],
  ['NaN', generate({ cfg: Number.NaN }), 'ERR_CONFIG', /"cfg" is NaN, expected number/],
  ['infinity', generate({ topK: Number.POSITIVE_INFINITY }), 'ERR_CONFIG', /"topK" is Infinity/],
  ['a fraction as count', generate({ count: 1.5 }), 'ERR_CONFIG', /"count" is 1\.5, expected int/],
  ['a number as onScale', generate({ onScale: 5 }), 'ERR_CONFIG', /"onScale": expected a function/],
  ['no signal', generate({ signal: 'now' }), 'ERR_CONFIG', /"signal" is "now", expected an AbortSignal/],
  ['a text as priority', generate({ priority: 'high' }), 'ERR_CONFIG', /"priority" is "high", expected number/],
  ['a misspelt key', generate({ tokP: 1 }), 'ERR_CONFIG', /unknown key "tokP": did you mean "top/],
  ['steps', generate({ steps: 30 }), 'ERR_CONFIG', /unknown key "steps": the model has no such steps/],
  [
    'negative_prompt',
    generate({ negative_prompt: 'x' }),
    'ERR_CONFIG',
    /"negative_prompt": did you mean "negativePrompt"/,
  ],
  ['an empty negative prompt', generate({ negativePrompt: ' ' }), 'ERR_CONFIG', /"negativePrompt" is " ", expected/],
  [
    'a negative prompt without guidance',
    generate({ negativePrompt: 'x', cfg: 0 }),
    'ERR_ARGUMENT',
    /no effect without guidance/,
  ],
  ['a width', generate({ width: 512 }), 'ERR_CONFIG', /"width": give the size as "size": \{ width, height \}/],
  ['a number as size', generate({ size: 64 }), 'ERR_CONFIG', /"size" is 64, expected object/],
  ['half a size', generate({ size: { width: 8 } }), 'ERR_CONFIG', /"size.height" is missing|"size.height"/],
  ['a size below 1', generate({ size: { width: 8, height: 0 } }), 'ERR_CONFIG', /"size.height" is 0/],
  [
    'a size that is no multiple',
    generate({ size: { width: 9, height: 8 } }),
    'ERR_ARGUMENT',
    /9×8, but sides of tiny are multiples of 2 pixels: ask for 10×8$/,
  ],
  [
    'a size far from the training',
    generate({ size: { width: 8, height: 14 } }),
    'ERR_ARGUMENT',
    /8×14, too far from what tiny was trained on \(8×8\): each side must be from 2\/3 to 3\/2/,
  ],
  ['guidanceScale', generate({ guidanceScale: 3 }), 'ERR_CONFIG', /"guidanceScale": did you mean "cfg"\?/],
  ['n', generate({ n: 4 }), 'ERR_CONFIG', /"n": did you mean "count"\?/],
  ['temperature', generate({ temperature: 1 }), 'ERR_CONFIG', /"temperature": the model has none; "topK"/],
  ['an aborted signal', generate({ signal: AbortSignal.abort() }), 'ERR_ABORTED', /was aborted/],
]

const load =
  (...args: unknown[]): Row[1] =>
  () =>
    Star.load(...(args as [string]))

const loading: Row[] = [
  ['nothing', load(), 'ERR_ARGUMENT', /Star\.load: the model is undefined, expected the name/],
  ['a number', load(5), 'ERR_ARGUMENT', /the model is 5/],
  ['an empty name', load(''), 'ERR_ARGUMENT', /the model is ""/],
  ['options that are null', load('emoji-64', null), 'ERR_ARGUMENT', /the options of Star\.load are null/],
  ['an unknown option', load(folder, { devise: 'cpu' }), 'ERR_CONFIG', /unknown key "devise": did you mean "device"/],
  ['an unknown type', load(folder, { dtype: 'f64' }), 'ERR_CONFIG', /"dtype" is "f64", expected one of/],
  ['an unknown thread', load(folder, { thread: 'process' }), 'ERR_CONFIG', /"thread" is "process"/],
  ['a negative queue', load(folder, { maxQueue: -1 }), 'ERR_CONFIG', /"maxQueue" is -1/],
  [
    'an unknown device',
    load(folder, { device: 'gpu' }),
    'ERR_DEVICE',
    /"gpu" is unknown; choose one of auto, cpu, cuda/,
  ],
  ['the second GPU', load(folder, { device: 'cuda:1' }), 'ERR_DEVICE', /CUDA_VISIBLE_DEVICES=1 and take cuda/],
  ['a misspelt model', load('emoji-46'), 'ERR_FILE', /did you mean "emoji-64"\?/],
  ['a run that is not there', load('runs/none/model'), 'ERR_FILE', /"star train-tokenizer"/],
  ['junk', load(junk), 'ERR_FILE', /junk\.pth is no PyTorch checkpoint/],
]

const image = (data = new Uint8Array(3)): StarImage =>
  new StarImage(1, 1, data, {
    ...{ prompt: 'a', model: 'm', weights: '', dtype: 'f32', device: 'cpu', seed: 1, cfg: 1, topK: 0, topP: 0 },
    ...{ moreSmooth: false, version: '1024', stableFrom: 9 },
  })

const pictures: Row[] = [
  [
    'an unknown ending',
    () => image().save('x.gif'),
    'ERR_ARGUMENT',
    /"x\.gif" does not name a picture: end it in \.png/,
  ],
  ['no ending', () => image().save('x'), 'ERR_ARGUMENT', /does not name a picture/],
  ['a folder that cannot be', () => image().save('/proc/x/y.png'), 'ERR_FILE', /cannot be written/],
  ['an unknown format', () => image().toBuffer(wrong('gif')), 'ERR_ARGUMENT', /the format is "gif", expected png/],
  ['no pictures', async () => imageGrid([]), 'ERR_ARGUMENT', /no picture was given/],
  ['no columns', async () => imageGrid([image()], { columns: 0 }), 'ERR_ARGUMENT', /columns is 0/],
  ['a gap of NaN', async () => imageGrid([image()], { gap: Number.NaN }), 'ERR_ARGUMENT', /gap is NaN/],
  ['no file', () => Star.settingsOf(wrong(5)), 'ERR_ARGUMENT', /settingsOf: 5 was given/],
  ['a file that is not there', () => Star.settingsOf('/none.png'), 'ERR_FILE', /no such file/],
  ['a text', () => Star.settingsOf(Buffer.from('text')), 'ERR_FILE', /is no picture that can be read/],
  ['a picture of another tool', () => Star.settingsOf(png({})), 'ERR_FILE', /does not say how it was made/],
  ['settings that are no JSON', () => Star.settingsOf(png({ 'star-t2i': '{' })), 'ERR_CONFIG', /is not valid JSON/],
  ['settings of nothing', () => Star.settingsOf(png({ 'star-t2i': '{}' })), 'ERR_CONFIG', /"prompt" is missing/],
  [
    'a grid',
    async () => Star.settingsOf(await imageGrid([image(), image()]).toBuffer()),
    'ERR_ARGUMENT',
    /a grid of 2 pictures/,
  ],
]

for (const [what, rows] of Object.entries({ prompts, options, loading, pictures }))
  t.test(`what is refused: ${what}`, async (t) => {
    await using star = await Star.load(folder, { device: 'cpu', thread: 'main' })
    for (const [name, call, code, message] of rows) {
      const error = await call(star).then(
        () => null,
        (caught: Error & { code?: string }) => caught,
      )
      t.match(error, { code, message }, name)
      t.equal(error?.name, code === 'ERR_ABORTED' ? 'AbortError' : 'StarError')
      t.notMatch(error?.message, /\n/)
    }
  })
