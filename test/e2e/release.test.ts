/**
 * The published packages as their users meet them: made, published to a registry on this machine, and installed in an empty folder.
 * The addon in them is the self-contained one where scripts/prebuild has made it, else that of the clone, which runs here alone.
 */
import { execFile, execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { Star } from '../../lib/index.js'
import { packageRoot } from '../../lib/native/index.js'
import { makeTarballs } from '../../scripts/release-packages.js'
import { LocalRegistry } from '../support/local-registry.js'
import { compileProject } from '../support/typescript.js'

const run = promisify(execFile)
const prebuilt = join(packageRoot, 'prebuilds', 'linux-x64', 'star-t2i.node')
const addon = existsSync(prebuilt) ? prebuilt : join(packageRoot, 'build', 'star.node')
const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }

const list = (tarball: string): string[] =>
  execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8', maxBuffer: 1 << 24 })
    .trim()
    .split('\n')
    .map((path) => path.replace(/^package\//, ''))

/** What a program that fails says. */
const complaint = (program: Promise<unknown>): Promise<string> =>
  program.then(
    () => '',
    ({ stderr }: { stderr: string }) => stderr,
  )

const checkRelease = (file: string) => run(join(packageRoot, 'scripts', 'check-release'), [file])

t.test('an addon that asks for more than glibc 2.28 is found out', async (t) => {
  // The clone's own is linked to what the system has.
  t.match(await complaint(checkRelease(join(packageRoot, 'build', 'star.node'))), /needs libdnnl\.so/)
})

const missing = existsSync(prebuilt)
  ? false
  : `${prebuilt} is not there: scripts/prebuild makes it, once in half an hour`
t.test('the self-contained addon asks for no more', { skip: missing }, async (t) => {
  await t.resolves(checkRelease(prebuilt))
})

t.test('packages', async (t) => {
  const folder = t.testdir({ tarballs: {}, registry: {}, app: {} })
  const app = join(folder, 'app')
  const written = !existsSync(join(packageRoot, 'sbom.cdx.json'))
  if (written) execFileSync('npm', ['run', '--silent', 'sbom'], { cwd: packageRoot })
  const tarballs = await makeTarballs({ folder: join(folder, 'tarballs'), addons: { 'linux-x64': addon } })
  if (written) rmSync(join(packageRoot, 'sbom.cdx.json'))
  t.same(tarballs.map((file) => basename(file)).sort(), [
    `star-t2i-${version}.tgz`,
    `star-t2i-linux-x64-${version}.tgz`,
  ])

  const main = list(tarballs[1])
  for (const path of ['bin/star.js', 'dist/lib/index.js', 'dist/lib/index.d.cts', 'CHANGELOG.md', 'sbom.cdx.json'])
    t.ok(main.includes(path), path)
  t.same(
    main.filter((path) => /binding\.gyp|\.map$|\.node$|(^|\/)test\//.test(path)),
    [],
  )
  const platform = list(tarballs[0]).sort()
  const own = ['LICENSE', 'README.md', 'THIRD_PARTY.md', 'package.json', 'star-t2i.node']
  const licences = ['gloo', 'highway', 'lmdb', 'onednn'].map((name) => `licences/${name}`)
  t.same(platform, addon === prebuilt ? [...own, ...licences].sort() : own)

  const registry = await LocalRegistry.start(join(folder, 'registry'))
  t.teardown(() => registry.stop())
  for (const file of tarballs) await registry.npm(['publish', file, '--access', 'public'], folder)
  writeFileSync(join(app, 'package.json'), '{ "private": true }')
  await registry.npm(['install', 'star-t2i', '@types/node@20'], app)
  const installed = JSON.parse(readFileSync(join(app, 'node_modules', 'star-t2i', 'package.json'), 'utf8'))
  t.same(installed.scripts, undefined, 'nothing runs on installation')
  t.same(readdirSync(join(app, 'node_modules', '@star-t2i')), ['linux-x64'])
  await t.resolves(registry.npm(['ls', '--all'], app))

  t.test('the same picture by import, by require and on the command line', async (t) => {
    const draw = `.then(async (star) => {
  const { images } = await star.generate('a red apple', { seed: 7 })
  await images[0].save(process.argv[2])
  await star.dispose()
})`
    writeFileSync(
      join(app, 'draw.mjs'),
      `import { Star } from 'star-t2i'\nawait Star.load('emoji-64', { device: 'cpu' })${draw}\n`,
    )
    writeFileSync(
      join(app, 'draw.cjs'),
      `const { Star } = require('star-t2i')\nStar.load('emoji-64', { device: 'cpu' })${draw}\n`,
    )
    for (const kind of ['mjs', 'cjs']) {
      const { stderr } = await run(process.execPath, [`draw.${kind}`, `${kind}.png`], { cwd: app })
      t.equal(stderr, '', kind)
    }
    const command = ['star-t2i', 'sample', 'a red apple', '--seed', '7', '--device', 'cpu', '--out', 'command.png']
    await registry.npm(['exec', '--offline', '--', ...command], app)
    const pictures = ['mjs.png', 'cjs.png', 'command.png'].map((name) => readFileSync(join(app, name)))
    t.ok(pictures[0].equals(pictures[1]) && pictures[0].equals(pictures[2]))
    t.match(await Star.settingsOf(pictures[0]), { prompt: 'a red apple', model: 'emoji-64', seed: 7 })
    if (addon !== prebuilt) {
      await using star = await Star.load('emoji-64', { device: 'cpu' })
      const { images } = await star.generate('a red apple', { seed: 7 })
      t.ok(pictures[0].equals(await images[0].toBuffer('png')), 'and in the clone, with the same addon')
    }
  })

  t.test('types for every module system', async (t) => {
    const source = `import { imageGrid, Star, StarError, type StarGenerateOptions, type StarImage } from 'star-t2i'
export async function draw(options: StarGenerateOptions): Promise<StarImage> {
  const star: Star = await Star.load('emoji-64', { device: 'auto' })
  const { images } = await star.generate('a red apple', options).catch((error: unknown) => {
    throw error instanceof StarError && error.code === 'ERR_BUSY' ? new Error('busy') : error
  })
  await imageGrid(images).save('grid.png')
  await star.dispose()
  return images[0]
}
export const wrong: string = imageGrid([]).width
`
    const systems = [
      ['node16', 'node16', 'module'],
      ['node16', 'node16', 'commonjs'],
      ['nodenext', 'nodenext', 'module'],
      ['nodenext', 'nodenext', 'commonjs'],
      ['esnext', 'bundler', 'module'],
    ]
    for (const [module, moduleResolution, type] of systems) {
      const place = join(app, `types-${moduleResolution}-${type}`)
      mkdirSync(place)
      writeFileSync(join(place, 'package.json'), JSON.stringify({ private: true, type }))
      writeFileSync(join(place, 'draw.ts'), source)
      const compilerOptions = {
        ...{ module, moduleResolution, noEmit: true, strict: true, target: 'es2022', types: ['node'] },
        lib: ['es2023', 'esnext.disposable'],
      }
      writeFileSync(join(place, 'tsconfig.json'), JSON.stringify({ compilerOptions }))
      const found = await compileProject(place).then(
        () => [],
        ({ stdout }: { stdout: string }) => stdout.trim().split('\n'),
      )
      t.equal(found.length, 1, `${moduleResolution}, ${type}: the planted mistake alone is found`)
      t.match(found[0], /draw\.ts\(11,14\): error TS2322: Type 'number' is not assignable to type 'string'/)
    }
  })

  t.test('without the platform package, one line says what is missing', async (t) => {
    rmSync(join(app, 'node_modules', '@star-t2i'), { recursive: true })
    t.match(
      await complaint(run(process.execPath, ['draw.mjs', 'x.png'], { cwd: app })),
      /the package @star-t2i\/linux-x64, which holds the native addon for this machine, is not installed: install/,
    )
  })
})
