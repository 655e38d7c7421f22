/** Every op is in all the places that CONTRIBUTING.md lists for a new one. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import { readSources } from '../../support/layers.js'

const native = (folder: string, extensions = ['.h', '.cc', '.cu', '.cuh']) =>
  readSources(join(packageRoot, folder), extensions)
const textOf = (folder: string, extensions?: string[]): string =>
  native(folder, extensions)
    .map(({ text }) => text)
    .join('\n')

const backend = readFileSync(join(packageRoot, 'native/core/backend.h'), 'utf8')
const ops = [...backend.matchAll(/virtual void (\w+)\(const (\w+Args)&\) = 0;/g)].map(([, name, args]) => ({
  name,
  args,
}))
t.ok(ops.length > 30, 'the ops were found')

t.test('every op has a contract, an implementation on each backend, a binding and a native test', async (t) => {
  const contracts = textOf('native/core/ops')
  const backends = ['native/cpu/cpu_backend.h', 'native/cuda/cuda_backend.h'].map((file) => ({
    file,
    text: readFileSync(join(packageRoot, file), 'utf8'),
  }))
  const bindings = textOf('native/binding')
  const tests = textOf('test/native')
  for (const { name, args } of ops) {
    t.match(contracts, new RegExp(`struct ${args}\\b`), `${args} in native/core/ops`)
    for (const { file, text } of backends)
      t.match(text, new RegExp(`void ${name}\\(const ${args}&`), `${name} in ${file}`)
    t.match(bindings, new RegExp(`[.>]${name}\\(`), `${name} in native/binding`)
    t.match(tests, new RegExp(`[.>]${name}\\(`), `${name} in test/native`)
  }
})

t.test('every source file is built', async (t) => {
  const built = readFileSync(join(packageRoot, 'CMakeLists.txt'), 'utf8')
  for (const folder of ['native/cpu', 'native/binding', 'native/cuda'])
    for (const { path } of native(folder, ['.cc', '.cu']))
      t.ok(built.includes(`${folder}/${path}`), `${folder}/${path}`)
})

t.test('every function of the bindings is declared and used', async (t) => {
  const declared = textOf('lib/native', ['.ts'])
  const used = ['lib', 'bench', 'test'].map((folder) => textOf(folder, ['.ts'])).join('\n')
  const names = [...textOf('native/binding').matchAll(/define_op\(exports, "(\w+)"/g)].map(([, name]) => name)
  t.ok(names.length > 40, 'the functions were found')
  for (const name of names) {
    t.match(declared, new RegExp(`\\b${name}\\(`), `${name} in lib/native`)
    t.match(used, new RegExp(`\\.${name}\\b`), `${name} is used`)
  }
})
