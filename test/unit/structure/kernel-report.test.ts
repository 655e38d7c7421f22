import t from 'tap'
import {
  findings,
  parseDisassembly,
  parseUsage,
  summarize,
  table,
  withTable,
} from '../../../scripts/kernel-report/report.js'

const forward = (type: string) =>
  `void star::(anonymous namespace)::attention_forward_kernel<${type}>(${type}*, ${type} const*)`
const usage = (local: number) => `
Fatbin elf code:
================
arch = sm_80
host = linux
Resource usage:
 Common:
  GLOBAL:0
 Function ${forward('__half')}:
  REG:120 STACK:0 SHARED:64 LOCAL:0 CONSTANT[0]:376 TEXTURE:0
 Function ${forward('__nv_bfloat16')}:
  REG:128 STACK:${local} SHARED:0 LOCAL:0 CONSTANT[0]:376 TEXTURE:0
Fatbin elf code:
arch = sm_90a
 Function void star::layer_norm_kernel<float>(float*):
  REG:40 STACK:0 SHARED:0 LOCAL:0 TEXTURE:0
`
const disassembly = (instruction: string) => `
arch = sm_80
		Function : ${forward('__half')}
	.headerflags	@"EF_CUDA_SM80"
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/                   HMMA.16816.F32 R4, R8, R12, R4 ;
		Function : ${forward('__nv_bfloat16')}
        /*0010*/                   ${instruction} R4, R8, R12, R4 ;
`
const rowsOf = (local: number, instruction: string) =>
  summarize(parseUsage(usage(local)), parseDisassembly(disassembly(instruction)))

t.test('instances of a kernel share a row, which shows the largest figures', async (t) => {
  t.same(rowsOf(0, 'HMMA.16816.F32.BF16'), [
    {
      kernel: 'attention_forward_kernel',
      arch: 'sm_80',
      instances: 2,
      registers: 128,
      shared: 64,
      local: 0,
      tensorCores: 2,
    },
    {
      kernel: 'layer_norm_kernel',
      arch: 'sm_90a',
      instances: 1,
      registers: 40,
      shared: 0,
      local: 0,
      tensorCores: null,
    },
  ])
})

t.test('the table goes between the markers', async (t) => {
  const text = 'a\n<!-- kernel-report begin -->\nold\n<!-- kernel-report end -->\nb\n'
  const written = withTable(text, table(rowsOf(0, 'HMMA.16816.F32.BF16')))
  t.match(
    written,
    /^a\n[\s\S]*\| `attention_forward_kernel` \| sm_80 \| 2 \| 128 \| 64 \| 0 \| in 2 of 2 \|\n[\s\S]*\nb\n$/,
  )
  t.notMatch(written, 'old')
  t.equal(withTable(written, table(rowsOf(0, 'HMMA.16816.F32.BF16'))), written)
  t.throws(() => withTable('no markers', ''), /kernel-report begin/)
})

t.test('local memory, missing tensor cores and missing rows are found', async (t) => {
  const good = rowsOf(0, 'HMMA.16816.F32.BF16')
  t.same(findings(good, table(good)), [])
  t.match(findings(rowsOf(8, 'HMMA.16816.F32.BF16'), table(good)), [
    /^attention_forward_kernel \(sm_80\) keeps 8 bytes .* local memory/,
  ])
  t.match(findings(rowsOf(0, 'FFMA'), table(good)), [
    /^attention_forward_kernel \(sm_80\): 1 of 2 instances use tensor/,
  ])
  t.match(findings(good, table(good.slice(0, 1))), [/no row of layer_norm_kernel \(sm_90a\)/])
  t.match(findings([], ''), [/there is no tensor-core kernel/])
})
