/** Which folder may import which, and a reader of imports that checks it. The table is the one in ARCHITECTURE.md. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative, sep } from 'node:path'

/** Folder → folders it may use directly; what those may use is allowed as well. `.` is the files of the root itself. */
export type LayerTable = Readonly<Record<string, readonly string[]>>

const everythingBelowTheTools = [
  'native',
  'config',
  'tensor',
  'nn',
  'optim',
  'models',
  'sampling',
  'engine',
  'editing',
  'weights',
  'data',
  'distributed',
  'metrics',
  'plan',
]

export const libLayers: LayerTable = {
  native: [],
  config: ['native'],
  pickle: ['native'],
  tensor: ['native'],
  nn: ['tensor', 'config'],
  optim: ['tensor', 'config'],
  // Text encoders come with weights and read them themselves.
  models: ['nn', 'weights'],
  sampling: ['models'],
  engine: ['sampling'],
  editing: ['sampling'],
  weights: ['tensor', 'config', 'pickle'],
  data: ['tensor', 'native', 'config', 'pickle'],
  distributed: ['tensor', 'native', 'config'],
  metrics: ['models', 'data', 'engine', 'distributed'],
  plan: ['models'],
  train: everythingBelowTheTools,
  '.': [...everythingBelowTheTools, 'train'],
  // The commands that start a server.
  cli: [...everythingBelowTheTools, 'train', '.', 'server'],
  server: [...everythingBelowTheTools, 'train', '.'],
}

/** The rooms of lib/train, each of whose files may use its own room and those named. */
export const trainLayers: LayerTable = {
  config: [],
  published: [],
  'run-folder': ['config'],
  data: ['config', 'run-folder'],
  kinds: ['data'],
  checkpoint: ['kinds'],
  loop: ['checkpoint'],
  '.': ['loop', 'published'],
  starter: ['.'],
}

export const nativeLayers: LayerTable = {
  system: [],
  core: ['system'],
  threads: ['core', 'system'],
  compat: [],
  dnnl: [],
  cpu: ['core', 'threads', 'dnnl', 'system'],
  cuda: ['core'],
  simt: ['core', 'cuda', 'threads', 'dnnl'],
  comm: ['core'],
  io: ['core', 'system'],
  // cuda and simt are plugins, which the addon loads and never includes.
  binding: ['core', 'cpu', 'comm', 'io'],
}

export interface SourceFile {
  /** Path below the root, with forward slashes. */
  path: string
  text: string
}

export function readSources(root: string, extensions: readonly string[]): SourceFile[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && extensions.some((extension) => entry.name.endsWith(extension)))
    .map((entry) => join(entry.parentPath, entry.name))
    .map((file) => ({ path: relative(root, file).split(sep).join('/'), text: readFileSync(file, 'utf8') }))
}

const folderOf = (path: string): string => (path.includes('/') ? path.slice(0, path.indexOf('/')) : '.')

/** All folders reachable from `folder` through the table. */
function reachable(table: LayerTable, folder: string, seen = new Set<string>()): Set<string> {
  for (const next of table[folder] ?? []) {
    if (seen.has(next)) continue
    seen.add(next)
    reachable(table, next, seen)
  }
  return seen
}

const withoutComments = (text: string): string =>
  text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '')

/** Module names of `import … from`, `export … from`, `import '…'` and `import('…')`. */
export function typeScriptImports(text: string): string[] {
  const pattern = /(?:^|[;\s}])(?:from|import)\s*\(?\s*['"]([^'"\n]+)['"]/g
  return [...withoutComments(text).matchAll(pattern)].map((match) => match[1])
}

/** Files named by `#include "…"` and `#include <…>`. */
export function includes(text: string): { name: string; quoted: boolean }[] {
  return [...withoutComments(text).matchAll(/^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)/gm)].map((match) => ({
    name: match[1] ?? match[2],
    quoted: match[1] !== undefined,
  }))
}

function judge(table: LayerTable, file: string, target: string): string[] {
  const from = folderOf(file)
  const to = folderOf(target)
  if (!(to in table)) return [`${file}: imports ${target}, whose folder "${to}" is not in the table`]
  if (from === to || reachable(table, from).has(to)) return []
  return [`${file}: folder "${from}" may not import from "${to}" (${target})`]
}

const unknownFolder = (table: LayerTable, file: string): string[] =>
  folderOf(file) in table ? [] : [`${file}: its folder "${folderOf(file)}" is not in the table`]

const targetOf = (path: string, name: string): string =>
  normalize(join(dirname(path), name))
    .split(sep)
    .join('/')

/** Violations among the rooms of one folder of lib/; what they import from elsewhere is not looked at. */
export function checkRooms(files: readonly SourceFile[], table: LayerTable): string[] {
  return files.flatMap(({ path, text }) => [
    ...unknownFolder(table, path),
    ...typeScriptImports(text)
      .filter((name) => name.startsWith('.') && !targetOf(path, name).startsWith('..'))
      .flatMap((name) => judge(table, path, targetOf(path, name))),
  ])
}

/** Violations in the TypeScript files below lib/. */
export function checkTypeScript(files: readonly SourceFile[], table: LayerTable = libLayers): string[] {
  return files.flatMap(({ path, text }) => [
    ...unknownFolder(table, path),
    ...typeScriptImports(text)
      .filter((name) => name.startsWith('.'))
      .flatMap((name) => {
        const target = targetOf(path, name)
        return target.startsWith('..')
          ? [`${path}: imports ${name}, which is outside lib/`]
          : judge(table, path, target)
      }),
  ])
}

/** Violations in the C++ files below native/: layers, and that napi.h stays in binding/. */
export function checkNative(files: readonly SourceFile[], table: LayerTable = nativeLayers): string[] {
  const known = new Set(files.map((file) => file.path))
  return files.flatMap(({ path, text }) => [
    ...unknownFolder(table, path),
    ...includes(text).flatMap(({ name, quoted }) => {
      if (/^(napi\.h|node_api\.h|js_native_api\.h)$/.test(name))
        return folderOf(path) === 'binding' ? [] : [`${path}: includes ${name}; only binding/ may`]
      if (!quoted) return []
      // A quoted name is a file beside this one or one below native/; anything else belongs to a library.
      const beside = normalize(join(dirname(path), name))
        .split(sep)
        .join('/')
      const target = known.has(beside) ? beside : known.has(name) ? name : undefined
      return target === undefined ? [] : judge(table, path, target)
    }),
  ])
}
