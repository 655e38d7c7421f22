import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { localModel, localTextEncoder } from '../../../lib/models/local.js'
import { Star } from '../../../lib/star.js'
import { HubServer } from '../../support/hub-server.js'
import { writeTinyModel } from '../../support/tiny-model.js'

const root = t.testdir()

/** A server with files of these names, or with those of a folder. */
async function serve(t: Test, names: readonly string[], folder?: string) {
  const content = (name: string) => (folder ? readFileSync(join(folder, name)) : Buffer.from(name))
  const hub = await HubServer.start('org/name', Object.fromEntries(names.map((name) => [name, content(name)])))
  const before = { ...process.env }
  process.env.HF_ENDPOINT = hub.url
  t.teardown(async () => {
    process.env = before
    await hub.stop()
  })
  const cacheDir = mkdtempSync(join(root, 'hub-'))
  return { hub, cacheDir, fetched: () => hub.downloads.map(({ path }) => path.split(/\/resolve\/\w+\//)[1]).sort() }
}

t.test('what is here is not looked for elsewhere', async (t) => {
  const { hub, cacheDir } = await serve(t, ['model.json'])
  t.same(await localModel('emoji-64', {}, { cacheDir }), { path: 'emoji-64', options: { tokenizer: undefined } })
  const folder = t.testdir({ org: { name: {} } })
  const before = process.cwd()
  process.chdir(folder)
  t.teardown(() => process.chdir(before))
  t.equal((await localModel('org/name', {}, { cacheDir })).path, 'org/name')
  t.equal(await localTextEncoder('minilm-l6', { cacheDir }), 'minilm-l6')
  t.same(hub.requests, [])
})

t.test('a model folder', async (t) => {
  const files = ['model.json', 'README.md', 'tokenizer.safetensors', 'transformer.safetensors']
  const { cacheDir, fetched } = await serve(t, [...files, 'picture.png', '.gitattributes', 'old/model.json'])
  const { path } = await localModel('org/name', {}, { cacheDir })
  t.same(fetched(), files.sort())
  t.same(readdirSync(path).sort(), files)
  t.same(readdirSync((await localModel('org/name/old', {}, { cacheDir })).path), ['model.json'])
})

t.test('a checkpoint brings the tokenizer beside it', async (t) => {
  const files = ['256/ar-ckpt.pth', '256/vae_ch160v4096z32.pth', '512/ar-ckpt.pth', 'README.md']
  const { cacheDir, fetched, hub } = await serve(t, files)
  const { path } = await localModel('org/name/256/ar-ckpt.pth', {}, { cacheDir })
  t.equal(basename(path), 'ar-ckpt.pth')
  t.same(readdirSync(dirname(path)), ['ar-ckpt.pth', 'vae_ch160v4096z32.pth'])
  hub.requests.length = 0
  const { options } = await localModel(
    'org/name/512/ar-ckpt.pth',
    { tokenizer: 'org/name/256/vae_ch160v4096z32.pth' },
    { cacheDir },
  )
  t.match(options.tokenizer, /snapshots\/.*\/256\/vae_ch160v4096z32\.pth$/)
  t.same(fetched(), ['512/ar-ckpt.pth'])
  await t.rejects(localModel('org/name', {}, { cacheDir }), {
    code: 'ERR_FILE',
    message:
      /^there is no file or folder "org\/name" here, and as a model of Hugging Face org\/name holds no model\.json: name one of its checkpoints, org\/name\/256\/ar-ckpt\.pth, /,
  })
})

t.test('a text encoder: safetensors before .bin, one precision, no other parts', async (t) => {
  const sd = ['unet/config.json', 'text_encoder/config.json', 'tokenizer/vocab.json', 'tokenizer/merges.txt']
  const weights = [
    'text_encoder/model.safetensors',
    'text_encoder/model.fp16.safetensors',
    'text_encoder/pytorch_model.bin',
  ]
  const two = await serve(t, [...sd, ...weights, 'model_index.json'])
  await localTextEncoder('org/name', { cacheDir: two.cacheDir })
  t.same(two.fetched(), [...sd.slice(1), weights[0]].sort())
  const parts = ['config.json', 'spiece.model', 'pytorch_model-00001-of-00001.bin', 'pytorch_model.bin.index.json']
  const one = await serve(t, [...parts, 'flax_model.msgpack', 'onnx/config.json'])
  await localTextEncoder('org/name', { cacheDir: one.cacheDir })
  t.same(one.fetched(), parts.sort())
})

t.test('a picture from a model of Hugging Face, and again without a connection', async (t) => {
  const folder = join(t.testdir(), 'tiny')
  writeTinyModel(folder)
  const { hub, cacheDir } = await serve(t, readdirSync(folder), folder)
  const files: string[] = []
  const options = { device: 'cpu', cacheDir }
  const draw = async (more = {}) => {
    await using star = await Star.load('org/name', { ...options, ...more })
    return Buffer.from((await star.generate('a', { seed: 1 })).images[0].data)
  }
  const picture = await draw({ onDownload: ({ file }: { file: string }) => files.push(file) })
  t.same(new Set(files), new Set(readdirSync(folder)))
  await hub.stop()
  t.ok(picture.equals(await draw({ offline: true })))
  await t.rejects(draw(), { code: 'ERR_FILE', message: /"org\/name" here, .* cannot be reached/ })
})
