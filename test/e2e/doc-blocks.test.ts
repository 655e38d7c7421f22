/**
 * Every code block of README.md and docs/guides runs: command lines in the order of the pages, in one folder; TypeScript compiled
 * strictly, then run; servers asked for a picture. What is made smaller, only parsed or left alone is listed here with the reason.
 */
import { execFile, spawn } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { packImages } from '../../lib/data/index.js'
import { StarTransformer, starConfig } from '../../lib/models/star/index.js'
import { Tokenizer } from '../../lib/models/tokenizer/index.js'
import { packageRoot } from '../../lib/native/index.js'
import { Random } from '../../lib/tensor/index.js'
import { type Block, blocksOf, commandsOf, parseProblem, words } from '../support/doc-blocks.js'
import { writeIconPictures } from '../support/icon-pictures.js'
import { stateOf, writeTree } from '../support/released.js'
import { star } from '../support/star-command.js'
import { compileProject } from '../support/typescript.js'

const run = promisify(execFile)
const folder = t.testdir()
const at = (...parts: string[]): string => join(folder, ...parts)

/** Lines whose options are checked, and that do not run: pattern, and why. */
const parsedOnly: [RegExp, string][] = [
  [
    /org\/name|stabilityai\//,
    'fetches from Hugging Face; test/unit/weights/hub.test.ts does it against a server of its own',
  ],
  [/--device cuda/, 'needs a GPU'],
  [/star launch --nnodes/, 'needs two machines; test/distributed runs it'],
  [/star data (emoji|icons|backbone)/, 'draws thousands of pictures or fetches; test/unit/data does it in parts'],
  [/star serve/, 'answers until it is stopped; test/unit/server asks it'],
  [/star evaluate/, 'needs references of its own; test/unit/metrics has them'],
]
/** Lines that are not the package's: of the clone, or of other tools. */
const leftAlone: [RegExp, string][] = [
  [
    /^(npm (install|i|ci|create)|npx --yes|pip|sudo|apt|git|cd|docker|curl) ?/,
    'installs or fetches, or is another program',
  ],
]
/** What is put in place of a part of a line or block, so that it runs in seconds. */
const smaller: [RegExp, string][] = [
  // The run of 10,000 steps that the page speaks of has only its last step here.
  [/--step 500/, '--step 100'],
]
/** Steps of a training that a page starts. */
const steps = 2

/** Configurations and files that the pages name, in small. */
async function prepare(): Promise<void> {
  await writeIconPictures(at('my-pictures'), 8, 64)
  await packImages([at('my-pictures')], { dataset: 'emoji', out: at('runs/data/emoji'), heldOut: 0.2 })
  cpSync(join(packageRoot, 'configs'), at('configs'), { recursive: true })
  for (const name of ['emoji-64-tokenizer', 'emoji-64']) {
    const file = at('configs', `${name}.json`)
    const config = JSON.parse(readFileSync(file, 'utf8')) as Record<string, Record<string, unknown>>
    Object.assign(config.optimizer, { batchSize: 2, steps, warmupSteps: 1 })
    Object.assign(config.work, { validateEvery: 0, picturesEvery: 0 })
    if (name === 'emoji-64') Object.assign(config.model, { depth: 2, width: 64, heads: 1 })
    writeFileSync(file, JSON.stringify(config))
  }
  const sizes = { vocabSize: 32, latentChannels: 8, patchNums: [1, 2, 4] }
  const tokenizer = new Tokenizer(
    { baseChannels: 32, channelMultipliers: [1, 2], residualBlocks: 1, ...sizes },
    { init: new Random(1) },
  )
  cpSync(join(packageRoot, 'test', 'data', 'clip'), at('CLIP'), { recursive: true })
  const { hidden_size: textWidth } = JSON.parse(readFileSync(at('CLIP/text_encoder/config.json'), 'utf8')) as {
    hidden_size: number
  }
  const transformer = new StarTransformer(starConfig({ depth: 2, width: 32, heads: 2, ...sizes, textWidth }), {
    init: new Random(2),
  })
  const trainer = {
    config: { patch_nums: sizes.patchNums, first_prog: true },
    var_wo_ddp: stateOf(transformer),
    vae_local: stateOf(tokenizer),
  }
  writeTree(at('ar-ckpt-last.pth'), { epoch: 1, iter: 1, trainer })
  cpSync(join(packageRoot, 'models', 'emoji-64', 'transformer.safetensors'), at('model.safetensors'))
  writeFileSync(at('package.json'), JSON.stringify({ type: 'module' }))
  mkdirSync(at('node_modules', '@types'), { recursive: true })
  symlinkSync(packageRoot, at('node_modules', 'star-t2i'), 'dir')
  symlinkSync(join(packageRoot, 'node_modules', '@types', 'node'), at('node_modules', '@types', 'node'), 'dir')
}

const reasonFor = (list: readonly [RegExp, string][], line: string): string | undefined =>
  list.find(([pattern]) => pattern.test(line))?.[1]

/** A training of a configuration of the reference implementation takes days: it is resolved, and nothing more. */
const isPublishedRun = (args: readonly string[]): boolean =>
  args[0].startsWith('train') && args.some((word) => /config_d\d+/.test(word))

async function runLine(t: Test, given: string): Promise<void> {
  const line = smaller.reduce((text, [pattern, instead]) => text.replace(pattern, instead), given)
  const script = /^npm (?:run (\S+)|(test)\b)/.exec(line)
  if (script) {
    const { scripts } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { scripts: object }
    t.ok(Object.hasOwn(scripts, script[1] ?? script[2]), `${line}: there is such a script`)
    return
  }
  const left = reasonFor(leftAlone, line)
  if (left) return t.comment(`${line}: left alone: ${left}`)
  const [command, ...args] = words(
    line.replace(/^npx (star-t2i|star)\b/, 'star').replace(/^node bin\/star\.js\b/, 'star'),
  )
  t.equal(command, 'star', `${line}: a command of this package, or listed above`)
  const parsed = reasonFor(parsedOnly, line)
  if (parsed) {
    t.equal(await parseProblem(args), null, line)
    return t.comment(`${line}: parsed only: ${parsed}`)
  }
  if (args[0] === 'watch') return watchLine(t, line, args)
  const { code, stderr } = await star(isPublishedRun(args) ? ['config', ...args.slice(1)] : args, { cwd: folder })
  t.equal(code, 0, `${line}${code === 0 ? '' : `: ${stderr}`}`)
  if (args[0] === 'init') shorten(args[1])
}

/** What "star init" writes trains for minutes. */
function shorten(run: string): void {
  for (const name of readdirSync(at(run)).filter((file) => file.endsWith('.json'))) {
    const file = at(run, name)
    writeFileSync(file, readFileSync(file, 'utf8').replace(/"steps": \d+/, `"steps": ${steps}`))
  }
}

async function watchLine(t: Test, line: string, args: readonly string[]): Promise<void> {
  const { code } = await star(args, {
    cwd: folder,
    onOutput: (text, kill) => /http:/.test(text) && kill('SIGINT'),
  })
  t.ok([0, 130].includes(code!), line)
}

/** Compiles the TypeScript blocks of all pages as a user's strict project does. */
async function compile(blocks: readonly { name: string; text: string }[]): Promise<void> {
  mkdirSync(at('blocks'))
  for (const { name, text } of blocks) writeFileSync(at('blocks', `${name}.ts`), text)
  const lib = ['es2023', 'esnext.disposable']
  const options = { target: 'es2022', lib, module: 'nodenext', strict: true, skipLibCheck: true, types: ['node'] }
  writeFileSync(at('tsconfig.json'), JSON.stringify({ compilerOptions: options, include: ['blocks'] }))
  await compileProject(folder)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0)
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  server.close()
  return port
}

async function runProgram(t: Test, file: string, port: number | null): Promise<void> {
  const child = spawn(process.execPath, [file], { cwd: folder })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  if (port === null) {
    t.equal(await ended, 0, `${relative(folder, file)} runs${output && `: ${output}`}`)
    return
  }
  try {
    let response: Response | null = null
    while (!response && child.exitCode === null) {
      response = await fetch(`http://127.0.0.1:${port}/?prompt=a%20red%20apple`).catch(() => null)
      if (!response) await sleep(200)
    }
    t.equal(response?.status, 200, `${relative(folder, file)} answers${output && `: ${output}`}`)
    t.ok((await response!.arrayBuffer()).byteLength > 500, 'with a picture')
  } finally {
    child.kill('SIGKILL')
    await ended
  }
}

/** A page's blocks of other languages. */
async function checkText(t: Test, { language, text, line }: Block): Promise<void> {
  if (language === 'json')
    t.doesNotThrow(() => JSON.parse(text.startsWith('{') ? text : `{${text}}`), `line ${line} is JSON`)
  else if (language === 'bash') {
    writeFileSync(at('script.sh'), text)
    t.resolves(run('bash', ['-n', at('script.sh')]), `line ${line} is a script`)
  } else t.ok(['text', 'sh', 'yaml', 'html'].includes(language), `line ${line}: what is to be done with "${language}"?`)
}

const guides = join(packageRoot, 'docs', 'guides')
const pages = [
  join(packageRoot, 'README.md'),
  ...[
    'first-picture',
    'prompts',
    'shapes',
    'speed',
    'changing-pictures',
    'web-server',
    'own-pictures',
    'own-style',
    'cluster',
  ].map((name) => join(guides, `${name}.md`)),
]

t.test('the pages of docs/guides are all here', async (t) => {
  t.same(readdirSync(guides).sort(), [...pages.slice(1).map((page) => relative(guides, page)), 'README.md'].sort())
})

t.test('code blocks of README and guides', async (t) => {
  await prepare()
  const ports = new Map<string, number>()
  const nameOf = (page: string, { line }: Block): string =>
    `${relative(packageRoot, page).replaceAll(/\W+/g, '-')}-${line}`
  const programs: { name: string; text: string }[] = []
  for (const page of pages)
    for (const block of blocksOf(page).filter(({ language }) => language === 'ts')) {
      const name = nameOf(page, block)
      if (block.text.includes('listen(8080)')) ports.set(name, await freePort())
      programs.push({ name, text: block.text.replaceAll('8080', `${ports.get(name) ?? 8080}`) })
    }
  await compile(programs)
  for (const page of pages)
    await t.test(relative(packageRoot, page), async (t) => {
      // Each page begins the model that it is about.
      rmSync(at('my-run'), { recursive: true, force: true })
      for (const block of blocksOf(page)) {
        if (block.language === 'console') for (const line of commandsOf(block)) await runLine(t, line)
        else if (block.language === 'ts') {
          const name = nameOf(page, block)
          await runProgram(t, at('blocks', `${name}.js`), ports.get(name) ?? null)
        } else await checkText(t, block)
      }
    })
})
