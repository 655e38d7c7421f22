/**
 * What the compiler made of the CUDA kernels, read from build-cuda/star_cuda.so: writes the table of docs/kernels.md.
 *
 *     node dist/scripts/kernel-report.js            writes the table
 *     node dist/scripts/kernel-report.js --check    writes nothing; fails where a kernel keeps values in local memory, where
 *                                                   attention uses no tensor cores, or where the table lacks a kernel
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { StarError } from '../lib/index.js'
import { writeFileAtomic } from '../lib/native/files.js'
import { packageRoot } from '../lib/native/index.js'
import { findings, parseDisassembly, parseUsage, summarize, table, withTable } from './kernel-report/report.js'

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } })
const document = join(packageRoot, 'docs', 'kernels.md')
const build = join(packageRoot, 'build-cuda')
/** Disassembling everything takes minutes: only what is said about attention needs it. */
const attention = ['attention_forward', 'attention_backward']

function run(command: string, args: readonly string[], input?: string): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 30, input })
  } catch (error) {
    throw new StarError(
      'ERR_FILE',
      `${command} ${args.join(' ')} failed: ${(error as Error).message.split('\n')[0]}; build the plugin with "npm run build:cuda"`,
      { cause: error },
    )
  }
}

const toolkit = run(join(packageRoot, 'scripts', 'cuda-toolkit'), []).trim()
const cuobjdump = join(toolkit, 'bin', 'cuobjdump')
const demangle = (text: string): string => run('c++filt', [], text)

const usage = parseUsage(demangle(run(cuobjdump, ['-res-usage', join(build, 'star_cuda.so')])))
const objects = attention.map((name) =>
  join(build, 'CMakeFiles', 'star_cuda.dir', 'native', 'cuda', 'kernels', `${name}.cu.o`),
)
const products = parseDisassembly(demangle(objects.map((object) => run(cuobjdump, ['-sass', object])).join('\n')))
const rows = summarize(usage, products)
const text = readFileSync(document, 'utf8')

if (values.check) {
  const problems = findings(rows, text)
  for (const problem of problems) console.error(problem)
  if (problems.length > 0) process.exitCode = 1
  else console.log(`${rows.length} rows: no local memory, tensor cores in attention`)
} else {
  writeFileAtomic(document, withTable(text, table(rows)))
  console.log(document)
}
