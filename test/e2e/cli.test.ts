/** The command line as users run it, in processes of its own: what it draws, and how it answers bad input. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { encodePng, readPngText } from '../../lib/data/index.js'
import { Star } from '../../lib/index.js'
import { goldenFolder } from '../support/golden.js'
import { HubServer } from '../support/hub-server.js'
import { stateOf, writeTree } from '../support/released.js'
import { smallDiskMissing, withSmallDisk } from '../support/small-disk.js'
import { type CommandResult, star, starFile } from '../support/star-command.js'
import { tinyParts, tinySide, writeTinyModel } from '../support/tiny-model.js'

const root = t.testdir()
const model = join(root, 'tiny')
writeTinyModel(model)

/** A mistake: exit code 2, nothing on standard output, one line on standard error. */
function refused(t: Test, { code, stdout, stderr }: CommandResult, message: RegExp): void {
  t.equal(code, 2, 'exit code')
  t.equal(stdout, '', 'standard output')
  t.match(stderr, /^error: [^\n]+\n$/, 'one line')
  t.match(stderr, message)
}

/** A copy of the model for a test to damage. */
function copyOfModel(name: string): string {
  const folder = join(root, name)
  cpSync(model, folder, { recursive: true })
  return folder
}

function editJson(file: string, edit: (json: Record<string, Record<string, unknown>>) => void): void {
  const json = JSON.parse(readFileSync(file, 'utf8'))
  edit(json)
  writeFileSync(file, JSON.stringify(json))
}

const sizeOf = (png: Buffer): [number, number] => [png.readUInt32BE(16), png.readUInt32BE(20)]

t.test('help and version', async (t) => {
  const help = await star(['--help'])
  t.equal(help.code, 0)
  for (const word of ['sample', 'info', 'evaluate', 'train', 'train-tokenizer', 'data', 'convert', 'Examples:'])
    t.match(help.stdout, word)
  for (const command of [['sample'], ['info'], ['train'], ['train-tokenizer'], ['data', 'emoji'], ['convert']]) {
    const { code, stdout } = await star([...command, '--help'])
    t.equal(code, 0)
    t.match(stdout, `Examples:\n  $ star ${command.join(' ')}`)
  }
  t.match((await star(['--version'])).stdout, /^\d+\.\d+\.\d+\n$/)
})

t.test('sample draws the same picture again, and others for other seeds', async (t) => {
  const folder = t.testdir()
  const draw = (out: string, ...more: string[]) =>
    star(['sample', 'a red apple', '--model', model, '--device', 'cpu', '--out', join(folder, out), ...more])
  t.match(await draw('a.png'), { code: 0, stdout: `${join(folder, 'a.png')}\n`, stderr: '' })
  await draw('b.png')
  await draw('c.png', '--seed', '43')
  await draw('d.png', '--count', '2')
  const [a, b, c, second] = ['a.png', 'b.png', 'c.png', 'd-2.png'].map((name) => readFileSync(join(folder, name)))
  t.same(a, b, 'byte for byte')
  t.notSame(a, c)
  t.same(c, second, 'the second picture has the next seed')
  t.same(sizeOf(a), [tinySide, tinySide])
  t.match(a.toString('utf8'), 'a red apple', 'the prompt is in the file')
})

t.test('formats by ending, standard output, and a picture drawn again from its file', async (t) => {
  const folder = t.testdir()
  const at = (name: string) => join(folder, name)
  const draw = (...more: string[]) =>
    star(['sample', 'ein <Äpfelchen> & "mehr"', '--model', model, '--seed', '7', ...more])
  for (const [name, head] of [
    ['a.png', '89504e47'],
    ['a.jpg', 'ffd8ff'],
    ['a.webp', '52494646'],
    ['a.avif', '0000001c66747970'],
  ]) {
    t.match(await draw('--out', at(name)), { code: 0, stdout: `${at(name)}\n`, stderr: '' })
    t.match(readFileSync(at(name)).toString('hex'), new RegExp(`^${head.replace('1c', '..')}`))
    t.match(await Star.settingsOf(at(name)), {
      prompt: 'ein <Äpfelchen> & "mehr"',
      seed: 7,
      model: 'tiny',
      device: 'cpu',
    })
  }
  t.match(await draw('--out', at('a.png')), { code: 0, stdout: `${at('a-2.png')}\n` }, 'a free name')
  const png = readFileSync(at('a.png'))
  t.ok(readFileSync(at('a-2.png')).equals(png))
  writeFileSync(at('a-2.png'), 'old')
  t.match(await draw('--out', at('a-2.png'), '--force'), { code: 0, stdout: `${at('a-2.png')}\n` })
  t.ok(readFileSync(at('a-2.png')).equals(png))
  t.equal((await draw('--out', '-')).stdout, png.toString('utf8'))

  const again = (...args: string[]) => star(['again', ...args])
  t.match(await again(at('a.webp'), '--model', model, '--out', at('b.png')), { code: 0, stdout: `${at('b.png')}\n` })
  t.ok(readFileSync(at('b.png')).equals(png), 'the same file from another format')
  t.match(await again(at('a.png'), '--model', model), { code: 0, stdout: `${at('a-3.png')}\n` })
  t.ok(readFileSync(at('a-3.png')).equals(png))
  const many = ['a cat', 'a dog', '--count', '3']
  await star(['sample', ...many, '--model', model, '--grid', '--out', at('grid.png')])
  t.match(await again(at('grid.png'), '--model', model), { code: 0, stdout: `${at('grid-2.png')}\n` })
  t.ok(readFileSync(at('grid.png')).equals(readFileSync(at('grid-2.png'))))

  refused(t, await again(at('a.png')), /there is no model, folder or file "tiny"/)
  refused(
    t,
    await again(at('a.png'), '--model', 'emoji-64'),
    /drawn by the model "tiny" with weights [0-9a-f]{12}, and these/,
  )
  refused(t, await again(join(root, 'tiny', 'model.json')), /is no picture that can be read/)
  refused(t, await again(at('none.png')), /none\.png cannot be read: there is no such file/)
  writeFileSync(at('plain.png'), encodePng({ width: 1, height: 1, data: new Uint8Array(3) }))
  refused(t, await again(at('plain.png')), /plain\.png does not say how it was made/)
})

t.test('sample writes folders and grids', async (t) => {
  const folder = t.testdir()
  const many = await star([
    'sample',
    'A cat!',
    'a dog',
    '--model',
    model,
    '--count',
    '2',
    '--batch',
    '3',
    '--out',
    join(folder, 'deep', 'er'),
  ])
  t.equal(many.code, 0)
  t.same(readdirSync(join(folder, 'deep', 'er')).sort(), [
    'a-cat-42.png',
    'a-cat-43.png',
    'a-dog-42.png',
    'a-dog-43.png',
  ])
  t.equal(many.stdout.trim().split('\n').length, 4)
  const grid = join(folder, 'grid.png')
  t.match(await star(['sample', '-', '--model', model, '--grid', '--out', grid], { stdin: 'a cat\n\na dog\r\n' }), {
    code: 0,
  })
  t.same(sizeOf(readFileSync(grid)), [2 * tinySide + 12, tinySide + 8])
})

t.test('info describes models and the installation', async (t) => {
  const { code, stdout } = await star(['info', model])
  t.equal(code, 0)
  for (const part of ['tiny', '8 × 8', '1 2 4 (21 tokens)', 'per-sample', 'minilm-l6', 'cfg 2, topK 16, topP 0.9'])
    t.match(stdout, part)
  t.match(JSON.parse((await star(['info', model, '--json'])).stdout), {
    name: 'tiny',
    imageSize: 8,
    crossAttention: 'per-sample',
  })
  t.match((await star(['info'])).stdout, /device cpu/)
  t.match(JSON.parse((await star(['info', '--json'])).stdout), { devices: [{ name: 'cpu', available: true }] })
})

t.test('mistakes in options', async (t) => {
  const out = join(t.testdir(), 'x.png')
  const sample = (...more: string[]) => star(['sample', '--model', model, '--out', out, ...more])
  refused(t, await sample('a', '--count', '0'), /--count is "0", expected a whole number from 1/)
  refused(t, await sample('a', '--count', '1.5'), /--count is "1\.5", expected a whole number/)
  refused(t, await sample('a', '--count', 'many'), /--count is "many"/)
  refused(t, await sample('a', '--top-p', '1.5'), /--top-p is "1\.5", expected a number from 0 to 1/)
  refused(t, await sample('a', '--cfg', ''), /--cfg is "", expected a number/)
  refused(t, await sample('a', '--device', 'abacus'), /device "abacus" is unknown; choose one of auto, cpu/)
  refused(t, await sample('a', '--modle', 'x'), /unknown option '--modle' \(Did you mean --model\?\)/)
  refused(t, await sample(), /missing required argument/)
  refused(t, await star(['sampel']), /unknown command 'sampel' \(Did you mean sample\?\)/)
  refused(t, await star([]), /no command was given/)
  refused(t, await star(['data']), /no command was given/)
  t.notOk(existsSync(out), 'nothing was written')
})

t.test('prompts that are empty or too long', async (t) => {
  const out = join(t.testdir(), 'x.png')
  const sample = (prompt: string, stdin?: string) => star(['sample', prompt, '--model', model, '--out', out], { stdin })
  refused(t, await sample(''), /the prompt is empty/)
  refused(t, await sample(' \n '), /the prompt is empty/)
  refused(t, await sample('x'.repeat(100_000)), /the prompt has 100000 characters, at most 4096/)
  refused(t, await sample('-', 'x'.repeat(1 << 20)), /the prompt has 1048576 characters, at most 4096/)
  refused(t, await sample('-', 'x\n'.repeat(9 << 20)), /more than 16777216 bytes/)
  refused(t, await sample('-', ''), /holds no prompt/)
  t.notOk(existsSync(out), 'nothing was written')
})

t.test('models that are missing or damaged', async (t) => {
  const out = join(t.testdir(), 'x.png')
  const sample = (folder: string) => star(['sample', 'a', '--model', folder, '--out', out])
  refused(t, await sample('emoji-46'), /no model, folder or file "emoji-46", did you mean "emoji-64"/)
  refused(t, await sample(root), /holds no model\.json/)

  const missing = copyOfModel('missing')
  rmSync(join(missing, 'transformer.safetensors'))
  refused(t, await sample(missing), /transformer\.safetensors/)
  refused(t, await star(['info', missing]), /transformer\.safetensors/)

  const truncated = copyOfModel('truncated')
  truncateSync(join(truncated, 'transformer.safetensors'), 5000)
  refused(t, await sample(truncated), /transformer\.safetensors .*cut off/)
  truncateSync(join(truncated, 'transformer.safetensors'), 5)
  refused(t, await sample(truncated), /transformer\.safetensors/)
  writeFileSync(join(truncated, 'transformer.safetensors'), 'not weights at all, but a text')
  refused(t, await sample(truncated), /transformer\.safetensors/)

  const misshapen = copyOfModel('misshapen')
  editJson(join(misshapen, 'model.json'), (json) => {
    json.transformer.width = 64
  })
  refused(
    t,
    await sample(misshapen),
    /model\.json does not fit .*transformer\.safetensors: "width" is 64, of the weights 32; "hidden" is 256/,
  )

  const swapped = copyOfModel('swapped')
  cpSync(join(model, 'tokenizer.safetensors'), join(swapped, 'transformer.safetensors'))
  refused(t, await sample(swapped), /the weights are not those of a STAR transformer: word_embed\.weight is missing/)

  const unknown = copyOfModel('unknown')
  editJson(join(unknown, 'model.json'), (json) => {
    json.transformer.dept = 2
  })
  refused(t, await sample(unknown), /unknown key "dept": did you mean "depth"/)
  writeFileSync(join(unknown, 'model.json'), '{ "format": ')
  refused(t, await sample(unknown), /model\.json is not valid JSON/)
  t.notOk(existsSync(out), 'nothing was written')
})

t.test('output that cannot be written is refused before anything is drawn', async (t) => {
  const folder = t.testdir({ file: 'text', sub: {} })
  const sample = (out: string, ...more: string[]) => star(['sample', 'a', '--model', model, '--out', out, ...more])
  mkdirSync(join(folder, 'sub', 'x.png'))
  refused(t, await sample(join(folder, 'sub', 'x.png')), /cannot be written: it is a folder/)
  refused(t, await sample(join(folder, 'file', 'x.png')), /cannot be written/)
  refused(t, await sample(join(folder, 'x.gif')), /written as \.png, \.jpg, \.webp or \.avif/)
  refused(t, await sample('-', '--count', '2'), /--out - takes one picture, not 2/)
  refused(t, await sample(join(folder, 'sub'), '--grid'), /a grid is one file/)
  refused(t, await sample('/proc/star/x.png'), /cannot be written/)
  refused(t, await sample('/dev/null'), /cannot be written/)
  t.same(readdirSync(folder).sort(), ['file', 'sub'], 'nothing was written')
})

t.test('Ctrl-C ends the drawing and keeps whole pictures only', async (t) => {
  const folder = join(t.testdir(), 'out')
  let sent = false
  const { code, stdout, stderr } = await star(
    ['sample', 'a', '--model', model, '--device', 'cpu', '--count', '5000', '--batch', '1', '--out', folder],
    {
      onOutput: (_, kill) => {
        if (!sent) kill('SIGINT')
        sent = true
      },
    },
  )
  t.equal(code, 130)
  const written = stdout.trim().split('\n').length
  t.ok(written < 5000)
  t.equal(stderr, `stopped: ${written} of 5000 pictures were written\n`)
  const files = readdirSync(folder)
  t.equal(files.length, written)
  for (const file of files) t.match(readPngText(readFileSync(join(folder, file))), { Description: 'a' })
})

t.test('a full disk', { skip: smallDiskMissing() }, async (t) => {
  const draw = '"$2" "$3" sample a --model "$4" --device cpu --count 64 --grid --force --out "$1/x.png"'
  const script = `echo old > "$1/x.png"; ${draw}; code=$?; ls -A "$1"; cat "$1/x.png"; exit $code`
  const { code, stdout, stderr } = withSmallDisk(t.testdir(), '16k', script, [process.execPath, starFile, model])
  t.equal(code, 2)
  t.match(stderr, /^error: .*x\.png cannot be written: the disk is full[^\n]*\n$/)
  t.equal(stdout, 'x.png\nold\n', 'the old file is whole and nothing else is there')
})

t.test('convert lists what it wrote, and answers in one line what it cannot', async (t) => {
  const folder = t.testdir()
  const golden = join(goldenFolder, 'checkpoint.pth')
  const out = join(folder, 'weights.safetensors')
  const done = await star(['convert', golden, out, '--key', 'trainer.var_wo_ddp', '--dtype', 'f16'])
  t.match(done, { code: 0, stdout: /^word_embed\.weight +\(16, 4\) {2}F32 → f16\n/ })
  t.equal(done.stderr, `4 tensors, 0.0 MB, from ${golden} to ${out}\n`)
  const whole = await star(['convert', golden, join(folder, 'whole.pth'), '--json'])
  t.equal(JSON.parse(whole.stdout).tensors.length, 14)
  t.match(whole.stderr, /left out: 17 values beside the tensors \(epoch, iter, /)
  for (const [args, message] of [
    [[golden, join(folder, 'x.onnx')], /unknown extension/],
    [[golden, join(folder, 'x.pth'), '--key', 'trainer.var_wo_dpp'], /did you mean "trainer.var_wo_ddp"/],
    [[golden, join(folder, 'x.pth'), '--dtype', 'f8'], /Allowed choices are f32, f16, bf16/],
    [[golden, folder, '--shard-size', '0'], /--shard-size is "0"/],
    [[join(folder, 'none.pth'), out], /no such file/],
    [[starFile, out], /not a valid safetensors file/],
  ] as const)
    refused(t, await star(['convert', ...args]), message)
  t.same(readdirSync(folder).sort(), ['weights.safetensors', 'whole.pth'])
})

t.test('a published checkpoint is described and drawn from', async (t) => {
  const folder = t.testdir()
  const file = join(folder, 'ar-ckpt-last.pth')
  const { tokenizer, transformer } = tinyParts()
  const state = { var_wo_ddp: stateOf(transformer), vae_local: stateOf(tokenizer) }
  writeTree(file, { epoch: 1, trainer: { config: { patch_nums: transformer.config.patchNums }, ...state } })
  const info = await star(['info', file])
  t.match(info, { code: 0, stdout: /cross-attention +first-sample \(as the released program computes it\)/ })
  t.match(info.stdout, /text encoder +not known/)
  const out = join(folder, 'a.png')
  const draw = (...more: string[]) => star(['sample', 'a', '--model', file, '--device', 'cpu', '--out', out, ...more])
  refused(t, await draw(), /does not say its text encoder: name the one it was trained with/)
  t.match(await draw('--text-encoder', 'minilm-l6'), { code: 0, stdout: `${out}\n` })
  t.same(sizeOf(readFileSync(out)), [tinySide, tinySide])
  refused(t, await draw('--scales', '1 x'), /--scales is "1 x"/)
  refused(t, await draw('--scales', '1 2'), /the scales 1 2 do not fit the weights/)
  refused(
    t,
    await star(['sample', 'a', '--model', model, '--scales', '1 2', '--out', out]),
    /says it in its model\.json/,
  )
})

t.test('a model of Hugging Face', async (t) => {
  const names = readdirSync(model)
  const hub = await HubServer.start(
    'org/tiny',
    Object.fromEntries(names.map((name) => [name, readFileSync(join(model, name))])),
  )
  t.teardown(() => hub.stop())
  const env = { HF_ENDPOINT: hub.url, HF_HUB_CACHE: join(t.testdir(), 'hub'), HF_TOKEN: '', HF_HUB_OFFLINE: '' }
  const info = (...args: string[]) => star(['info', ...args], { env })
  refused(t, await info('org/tiny', '--offline'), /is not in the cache, and downloads are turned off/)
  t.match(await info('org/tiny'), { code: 0, stdout: /^model +tiny\n/, stderr: '' })
  t.match(await info('org/tiny', '--offline'), { code: 0, stdout: /^model +tiny\n/ })
  refused(t, await info('org/none'), /"org\/none" here, .* has no such model or revision "main" \(404\)/)
})
