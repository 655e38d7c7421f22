/** Reads what cuobjdump says of kernels and makes rows of it. Kernels that are instances of one template share a row. */

/** One instance of a kernel on one architecture. */
export interface Usage {
  /** Demangled, with template arguments and parameters. */
  name: string
  arch: string
  registers: number
  /** Static shared memory in bytes. */
  shared: number
  /** Bytes a thread keeps in local memory: what registers had no room for, and arrays that cannot live in them. */
  local: number
}

export interface Row {
  kernel: string
  arch: string
  instances: number
  /** The largest of the instances, like `shared` and `local`. */
  registers: number
  shared: number
  local: number
  /** Instances with tensor-core instructions; null where that was not looked at. */
  tensorCores: number | null
}

/** Kernels of 16-bit attention that multiply matrices. */
const multiplying = /^attention_(forward|backward)_kernel$/

/** `attention_forward_kernel` of `void star::(anonymous namespace)::attention_forward_kernel<__half>(…)`. */
export function kernelOf(name: string): string {
  return /(\w+_kernel)\b/.exec(name)?.[1] ?? name
}

/** Parses the demangled output of `cuobjdump -res-usage`. */
export function parseUsage(text: string): Usage[] {
  const list: Usage[] = []
  let arch = ''
  let name = ''
  for (const line of text.split('\n')) {
    arch = /^arch = (\w+)/.exec(line)?.[1] ?? arch
    name = /^\s*Function (.*):$/.exec(line)?.[1] ?? name
    const figures = /REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)/.exec(line)
    if (!figures) continue
    const [registers, stack, shared, local] = figures.slice(1).map(Number)
    list.push({ name, arch, registers, shared, local: stack + local })
  }
  return list
}

/** Parses the demangled output of `cuobjdump -sass`: number of matrix instructions by architecture and name. */
export function parseDisassembly(text: string): Map<string, number> {
  const counts = new Map<string, number>()
  let arch = ''
  let key = ''
  for (const line of text.split('\n')) {
    arch = /^arch = (\w+)/.exec(line)?.[1] ?? arch
    const name = /^\s*Function : (.*)$/.exec(line)?.[1]
    if (name) {
      key = `${arch} ${name}`
      counts.set(key, 0)
    } else if (/\bHMMA\.|\bHGMMA\./.test(line)) counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return counts
}

/** One row a kernel and architecture, by name. */
export function summarize(usage: readonly Usage[], products: ReadonlyMap<string, number>): Row[] {
  const rows = new Map<string, Row>()
  for (const { name, arch, registers, shared, local } of usage) {
    const kernel = kernelOf(name)
    const row = rows.get(`${kernel} ${arch}`) ?? {
      kernel,
      arch,
      instances: 0,
      registers: 0,
      shared: 0,
      local: 0,
      tensorCores: null,
    }
    rows.set(`${kernel} ${arch}`, row)
    row.instances++
    row.registers = Math.max(row.registers, registers)
    row.shared = Math.max(row.shared, shared)
    row.local = Math.max(row.local, local)
    const count = products.get(`${arch} ${name}`)
    if (count !== undefined) row.tensorCores = (row.tensorCores ?? 0) + (count > 0 ? 1 : 0)
  }
  return [...rows.values()].sort((a, b) => (`${a.kernel} ${a.arch}` < `${b.kernel} ${b.arch}` ? -1 : 1))
}

export function table(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    `\`${row.kernel}\``,
    row.arch,
    `${row.instances}`,
    `${row.registers}`,
    `${row.shared}`,
    `${row.local}`,
    row.tensorCores === null ? '' : row.tensorCores === 0 ? 'no' : `in ${row.tensorCores} of ${row.instances}`,
  ])
  const head = ['kernel', 'GPU', 'instances', 'registers', 'shared', 'local', 'tensor cores']
  return [head, ['---', '---', '--:', '--:', '--:', '--:', '---'], ...cells]
    .map((line) => `| ${line.join(' | ')} |`)
    .join('\n')
}

const begin = '<!-- kernel-report begin -->'
const end = '<!-- kernel-report end -->'

/** `text` with what is between the markers replaced. */
export function withTable(text: string, content: string): string {
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`the document has no ${begin} … ${end}`)
  return `${text.slice(0, from + begin.length)}\n\n${content}\n\n${text.slice(to)}`
}

/** What is wrong with the kernels, and with the document that holds their table. */
export function findings(rows: readonly Row[], document: string): string[] {
  const problems: string[] = []
  for (const { kernel, arch, instances, local, tensorCores } of rows) {
    if (local > 0)
      problems.push(`${kernel} (${arch}) keeps ${local} bytes of each thread in local memory; it must keep none`)
    if (multiplying.test(kernel) && tensorCores !== instances)
      problems.push(`${kernel} (${arch}): ${tensorCores ?? 0} of ${instances} instances use tensor cores; all must`)
    if (!document.includes(`| \`${kernel}\` | ${arch} |`))
      problems.push(`docs/kernels.md has no row of ${kernel} (${arch}): run node dist/scripts/kernel-report.js`)
  }
  if (!rows.some((row) => multiplying.test(row.kernel)))
    problems.push('there is no tensor-core kernel: what this check names was renamed')
  return problems
}
