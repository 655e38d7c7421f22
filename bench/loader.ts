/**
 * `npm run bench:loader [-- --count N --side N --resolution N --batch N --workers N --folder FOLDER]`: images a second of the
 * loader alone, over two epochs of a pack of small images made for it, against what training would eat; and the memory it takes.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { Loader, type PackEntry, writePacks } from '../lib/data/index.js'

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '50000' },
    side: { type: 'string', default: '64' },
    resolution: { type: 'string', default: '64' },
    batch: { type: 'string', default: '512' },
    workers: { type: 'string', default: String(availableParallelism()) },
    folder: { type: 'string' },
  },
})
const [count, side, resolution, batch, workers] = (['count', 'side', 'resolution', 'batch', 'workers'] as const).map(
  (name) => Number(values[name]),
)

/**
 * Images a second that training of d16 at 256² takes on an H100, estimated: 6 FLOP for each weight and token forward and
 * backward, with the weights that image tokens meet (14·C² a block and the head), and 12·L²·C a block for attention whose
 * later half is masked, at 400 TFLOP/s, which is good for bfloat16.
 */
const [depth, width, tokens, vocabulary] = [16, 1024, 680, 4096]
const weights = depth * 14 * width ** 2 + width * vocabulary
const flop = 6 * weights * tokens + (depth * 12 * tokens ** 2 * width) / 2
const eaten = 400e12 / flop

/** A picture between noise and drawing, as PNG files go: a gradient with noise of a few bits. */
async function entry(number: number): Promise<PackEntry> {
  const data = Buffer.alloc(side * side * 3)
  let state = Math.imul(number + 1, 0x9e3779b1) >>> 0
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    data[i] = ((i / 3) % side) * (128 / side) + (number % 64) + (state >>> 28)
  }
  const image = await sharp(data, { raw: { width: side, height: side, channels: 3 } })
    .png({ compressionLevel: 1 })
    .toBuffer()
  const id = String(number)
  return {
    key: `bench-${id}`,
    info: { id, basename: `${id}.png`, prompt: `picture number ${id}, of no use`, width: side, height: side },
    image,
  }
}

async function* entries(): AsyncGenerator<PackEntry> {
  for (let begin = 0; begin < count; begin += 64) {
    const part = Array.from({ length: Math.min(64, count - begin) }, (_, i) => entry(begin + i))
    yield* await Promise.all(part)
  }
}

/** Memory of this process in MB: all of it, and without the pages of files, which the system takes back when it needs them. */
function memory(): { all: number; own: number } {
  const status = readFileSync('/proc/self/status', 'utf8')
  const field = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)![1]) / 1024
  return { all: field('VmRSS'), own: field('RssAnon') }
}

const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'star-bench-loader-'))
try {
  if (!existsSync(join(folder, 'bench-000000'))) {
    console.error(`making a pack of ${count} images of ${side}² pixels in ${folder}`)
    await writePacks(folder, 'bench', entries())
  }
  const before = memory()
  using loader = await Loader.open({ packs: [folder], resolution, workers })
  console.error(`opened; memory ${memory().all.toFixed(0)} MB, before ${before.all.toFixed(0)} MB`)
  let [most, mostOwn] = [0, 0]
  for (let epoch = 0; epoch < 2; epoch++) {
    const [begun, cpu] = [performance.now(), process.cpuUsage()]
    let images = 0
    while (images < loader.length!) {
      images += (await loader.next(batch)).samples.length
      const { all, own } = memory()
      most = Math.max(most, all)
      mostOwn = Math.max(mostOwn, own)
    }
    const seconds = (performance.now() - begun) / 1000
    const { user, system } = process.cpuUsage(cpu)
    const cores = (user + system) / 1e6 / seconds
    console.log(
      `epoch ${epoch + 1}: ${(images / seconds).toFixed(0)} images/s, ${cores.toFixed(1)} of ${availableParallelism()} cores`,
    )
  }
  console.log(`at most ${most.toFixed(0)} MB of memory, ${mostOwn.toFixed(0)} MB without pages of files`)
  console.log(
    `d16 at 256² on an H100 eats about ${eaten.toFixed(0)} images/s (${(flop / 1e12).toFixed(2)} TFLOP an image); three times that is ${(3 * eaten).toFixed(0)}`,
  )
} finally {
  if (!values.folder) rmSync(folder, { recursive: true, force: true })
}
