import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import {
  checkNative,
  checkRooms,
  checkTypeScript,
  includes,
  readSources,
  trainLayers,
  typeScriptImports,
} from '../../support/layers.js'

t.test('every file of lib/ imports only what its folder may use', async (t) => {
  const files = readSources(join(packageRoot, 'lib'), ['.ts'])
  t.ok(files.length > 20, 'the files were found')
  t.same(checkTypeScript(files), [])
})

t.test('every file of lib/train imports only what its room may use', async (t) => {
  const files = readSources(join(packageRoot, 'lib', 'train'), ['.ts'])
  t.ok(files.length > 20, 'the files were found')
  t.same(checkRooms(files, trainLayers), [])
  const planted = {
    path: 'data/x.ts',
    text: "import { a } from '../kinds/task.js'\nimport { b } from '../../nn/index.js'",
  }
  t.match(checkRooms([planted], trainLayers), [/^data\/x\.ts: folder "data" may not import from "kinds"/])
})

t.test('every file of native/ includes only what its folder may use', async (t) => {
  const files = readSources(join(packageRoot, 'native'), ['.h', '.cc', '.cu', '.cuh'])
  t.ok(files.length > 20, 'the files were found')
  t.same(checkNative(files), [])
})

t.test('imports are found in every form', async (t) => {
  const text = `
    import a from './a.js'
    import type { B } from "./b.js"
    import {
      c,
      d } from './c.js'
    import './d.js'
    export * from './e.js'
    const f = await import('./f.js')
    // import g from './g.js'
    /* from './h.js' */
    const i = Array.from('./i.js')
    const url = 'http://x'; import j from './j.js'`
  t.same(typeScriptImports(text), ['./a.js', './b.js', './c.js', './d.js', './e.js', './f.js', './j.js'])
  t.same(includes('#include <a.h>\n  # include "b/c.h" // "d.h"\n// #include "e.h"'), [
    { name: 'a.h', quoted: false },
    { name: 'b/c.h', quoted: true },
  ])
})

t.test('planted violations are caught', async (t) => {
  const violations = (path: string, text: string) => checkTypeScript([{ path, text }])
  t.match(violations('tensor/x.ts', "import { Module } from '../nn/module.js'"), [/"tensor" may not import from "nn"/])
  t.match(violations('models/star/x.ts', "export * from '../../cli/main.js'"), [/"models" may not import from "cli"/])
  t.match(violations('nn/x.ts', "const a = await import('../index.js')"), [/"nn" may not import from "\."/])
  t.match(violations('train/x.ts', "import '../cli/main.js'"), [/"train" may not import from "cli"/])
  t.match(violations('magic/x.ts', 'export {}'), [/"magic" is not in the table/])
  t.match(violations('nn/x.ts', "import '../magic/x.js'"), [/"magic" is not in the table/])
  t.match(violations('nn/x.ts', "import '../../test/support/layers.js'"), [/outside lib/])
  t.same(violations('models/star/x.ts', "import { a } from '../../tensor/index.js'\nimport { z } from 'zod'"), [])
  t.same(violations('cli/x.ts', "import { Star } from '../star.js'"), [])

  const core = { path: 'core/tensor.h', text: '' }
  const cpu = { path: 'cpu/parallel.h', text: '' }
  const native = (path: string, text: string) => checkNative([core, cpu, { path, text }])
  t.match(native('core/x.cc', '#include "cpu/parallel.h"'), [/"core" may not import from "cpu"/])
  t.match(native('core/x.cc', '#include "../cpu/parallel.h"'), [/"core" may not import from "cpu"/])
  t.match(native('cpu/x.cc', '#include <napi.h>'), [/only binding\/ may/])
  t.match(native('magic/x.cc', ''), [/"magic" is not in the table/])
  t.same(native('cpu/x.cc', '#include "core/tensor.h"\n#include "parallel.h"\n#include "dnnl.hpp"'), [])
  t.same(native('binding/x.cc', '#include <napi.h>\n#include "cpu/parallel.h"'), [])
})
