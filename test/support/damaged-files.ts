/**
 * A child process that opens damaged copies of one file, so that a crash would end it and not the test: prints how many
 * copies were refused, how many were read, and the most memory it took (kilobytes). Arguments: kind (pack or weights), file, scratch folder, first seed, count.
 */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openPack } from '../../lib/data/pack.js'
import { native, StarError } from '../../lib/native/index.js'
import { scope } from '../../lib/tensor/index.js'
import { openWeights } from '../../lib/weights/index.js'

const [kind, file, folder, first, count] = process.argv.slice(2)

function readAll(path: string): void {
  if (kind === 'weights') {
    scope(() => {
      using weights = openWeights(path)
      for (const tensor of weights.tensors().values()) tensor.data()
    })
    return
  }
  // The raw reader first: every key and value that the tree reaches.
  const reader = new native.LmdbReader(path)
  try {
    for (const key of reader.keys()) reader.get(key)
  } finally {
    reader.close()
  }
  using pack = openPack(path)
  for (const key of pack.keys) {
    pack.info(key)
    pack.image(key)
  }
}

const original = readFileSync(file)
const path = join(folder, `damaged-${first}`)
if (kind === 'pack') copyFileSync(`${file}-info.json`, `${path}-info.json`)
let refused = 0
for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0
  const random = (n: number) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % n
  }
  let bytes = Buffer.from(original)
  // Mostly where the structure is: the first 16 KiB; now and then anywhere, or a cut.
  if (seed % 8 === 7) bytes = bytes.subarray(0, random(bytes.length))
  else {
    const range = seed % 8 === 6 ? bytes.length : Math.min(bytes.length, 16_384)
    for (let i = 1 + random(4); i > 0; i--) {
      const at = random(range)
      if (random(2)) bytes[at] ^= 1 << random(8)
      else bytes[at] = [0, 255, 127, 128][random(4)]
    }
  }
  writeFileSync(path, bytes)
  try {
    readAll(path)
  } catch (error) {
    if (!(error instanceof StarError) || error.code !== 'ERR_FILE') throw error
    refused++
  }
}
const { maxRSS } = process.resourceUsage()
console.log(JSON.stringify({ refused, read: Number(count) - refused, maxRSS }))
