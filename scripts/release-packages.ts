/**
 * The packages of a version: star-t2i, which is JavaScript, types and models, and a package for each platform with its native addon,
 * which npm installs where `os`, `cpu` and `libc` fit. The CUDA plugin is a package of its own that users ask for.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { packageRoot, StarError } from '../lib/native/index.js'

interface Manifest {
  version: string
  repository: { url: string }
  files: string[]
  [key: string]: unknown
}

export interface ReleaseFiles {
  /** Folder for the tarballs. */
  folder: string
  /** The addon, a file for each platform of which a package is made. */
  addons: Readonly<Record<string, string>>
  /** The CUDA plugin in the same way. */
  plugins?: Readonly<Record<string, string>>
}

const writeManifest = (folder: string, manifest: object): void =>
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)

/** The public interface as CommonJS sees it: the same classes and functions, for TypeScript before 5.8 as well. */
async function commonJsTypes(): Promise<string> {
  const exported = (await import('../lib/index.js')) as Record<string, unknown>
  const lines = [
    "import type * as api from './index.js' with { 'resolution-mode': 'import' }",
    "export type * from './index.js' with { 'resolution-mode': 'import' }",
  ]
  for (const [name, value] of Object.entries(exported)) {
    lines.push(`export declare const ${name}: typeof api.${name}`)
    if (typeof value === 'function' && String(value).startsWith('class '))
      lines.push(`export type ${name} = api.${name}`)
  }
  return `${lines.join('\n')}\n`
}

/** Links to files of the repository as a page of the registry needs them, which shows the README alone. */
function withAbsoluteLinks(markdown: string, manifest: Manifest): string {
  const base = manifest.repository.url.replace(/^git\+/, '').replace(/\.git$/, '')
  return markdown.replaceAll(
    /(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)/g,
    (_, image: string, text: string, path: string) =>
      `${image}[${text}](${base}/${image ? 'raw' : 'blob'}/v${manifest.version}/${path})`,
  )
}

/** Maps lead to sources that the package does not hold. */
function dropSourceMaps(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name)
    if (entry.name.endsWith('.map')) rmSync(file)
    else if (entry.name.endsWith('.js'))
      writeFileSync(file, readFileSync(file, 'utf8').replace(/\n\/\/# sourceMappingURL=.*\n?$/, '\n'))
  }
}

function pack(source: string, folder: string): string {
  const output = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
    cwd: source,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const [{ filename }] = JSON.parse(output) as { filename: string }[]
  return join(folder, filename)
}

/** Makes a package folder of `platform` around one binary file. */
function platformPackage(stage: string, manifest: Manifest, platform: string, file: string, as: string): string {
  const [os, cpu, libc] = platform.split('-')
  const cuda = as.endsWith('.so')
  const name = `@star-t2i/${platform}${cuda ? '-cuda' : ''}`
  const folder = join(stage, name)
  mkdirSync(folder, { recursive: true })
  cpSync(file, join(folder, as))
  for (const text of ['LICENSE', 'THIRD_PARTY.md']) cpSync(join(packageRoot, text), join(folder, text))
  // Of the libraries that are linked into it, as scripts/prebuild left them beside it.
  const licences = join(dirname(file), 'licences')
  if (existsSync(licences)) cpSync(licences, join(folder, 'licences'), { recursive: true })
  const what = cuda ? 'The CUDA plugin' : 'The native addon'
  writeManifest(folder, {
    name,
    version: manifest.version,
    description: `${what} of star-t2i for ${platform}`,
    homepage: manifest.homepage,
    repository: manifest.repository,
    license: manifest.license,
    engines: manifest.engines,
    os: [os],
    cpu: [cpu],
    ...(os === 'linux' ? { libc: [libc ?? 'glibc'] } : {}),
    ...(cuda ? { peerDependencies: { 'star-t2i': manifest.version } } : { main: as }),
    files: [as, 'licences', 'THIRD_PARTY.md'],
    publishConfig: { access: 'public' },
  })
  const use = cuda
    ? `Install it beside star-t2i on a machine with an NVIDIA GPU: \`npm install star-t2i ${name}\`.`
    : 'It is installed with star-t2i, where it fits: `npm install star-t2i`.'
  writeFileSync(
    join(folder, 'README.md'),
    `# ${name}\n\n${what} of [star-t2i](${manifest.homepage}) for ${platform}. ${use}\n`,
  )
  return folder
}

/** Makes the tarballs and gives their paths. */
export async function makeTarballs(files: ReleaseFiles): Promise<string[]> {
  const manifest = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as Manifest
  const stage = join(packageRoot, 'build', 'packages')
  rmSync(stage, { recursive: true, force: true })
  mkdirSync(files.folder, { recursive: true })
  const tarballs: string[] = []

  for (const [platform, file] of Object.entries(files.addons))
    tarballs.push(pack(platformPackage(stage, manifest, platform, file, 'star-t2i.node'), files.folder))
  for (const [platform, file] of Object.entries(files.plugins ?? {}))
    tarballs.push(pack(platformPackage(stage, manifest, platform, file, 'star_cuda.so'), files.folder))

  const main = join(stage, 'star-t2i')
  const { devDependencies, scripts, overrides, binary, gypfile, ...published } = manifest
  mkdirSync(main, { recursive: true })
  for (const entry of ['README.md', 'LICENSE', ...manifest.files]) {
    const source = join(packageRoot, entry)
    if (!existsSync(source)) throw new StarError('ERR_FILE', `${source}, which belongs into the package, is not there`)
    cpSync(source, join(main, entry), { recursive: true })
  }
  dropSourceMaps(join(main, 'dist'))
  writeFileSync(join(main, 'dist', 'lib', 'index.d.cts'), await commonJsTypes())
  writeFileSync(
    join(main, 'README.md'),
    withAbsoluteLinks(readFileSync(join(packageRoot, 'README.md'), 'utf8'), manifest),
  )
  writeManifest(main, {
    ...published,
    optionalDependencies: Object.fromEntries(
      Object.keys(files.addons).map((platform) => [`@star-t2i/${platform}`, manifest.version]),
    ),
  })
  tarballs.push(pack(main, files.folder))
  return tarballs
}
