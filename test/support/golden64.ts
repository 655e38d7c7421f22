/** Golden files with float64 columns, which tensors do not hold. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { goldenFolder } from './golden.js'

export function readSafetensors64(name: string): { arrays: Map<string, number[]>; metadata: Record<string, string> } {
  const bytes = readFileSync(join(goldenFolder, `${name}.safetensors`))
  const length = Number(bytes.readBigUInt64LE(0))
  const { __metadata__: metadata, ...entries } = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<
    string,
    { dtype: string; data_offsets: [number, number] }
  > & { __metadata__: Record<string, string> }
  const arrays = new Map<string, number[]>()
  for (const [key, { dtype, data_offsets }] of Object.entries(
    entries as Record<string, { dtype: string; data_offsets: [number, number] }>,
  )) {
    const part = Uint8Array.from(bytes.subarray(8 + length + data_offsets[0], 8 + length + data_offsets[1])).buffer
    arrays.set(key, [
      ...(dtype === 'F64' ? new Float64Array(part) : dtype === 'I32' ? new Int32Array(part) : new Float32Array(part)),
    ])
  }
  return { arrays, metadata: metadata as unknown as Record<string, string> }
}
