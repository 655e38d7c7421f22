/**
 * A user's way from 50 pictures with captions in .txt files to a model that draws them: "star init", then the commands it prints,
 * with the time and memory they take beside those foretold, and how many captions give a picture that lies nearest to their own.
 *
 *     node dist/scripts/own-pictures.js FOLDER [--size 64] [--count 50]
 */
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ImageCaptionDataset } from '../lib/data/index.js'
import { Star, StarError } from '../lib/index.js'
import { NearestPictures, shareOf, thumbnail } from '../lib/metrics/retrieval.js'
import { packageRoot } from '../lib/native/index.js'
import { writeIconPictures } from '../test/support/icon-pictures.js'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { size: { type: 'string', default: '64' }, count: { type: 'string', default: '50' } },
})
const [folder] = positionals
if (!folder) throw new StarError('ERR_ARGUMENT', 'usage: own-pictures FOLDER [--size N] [--count N]')
mkdirSync(folder, { recursive: true })

/** Runs a command line as a user types it, `star` being that of this clone; gives what it printed and the seconds it took. */
function run(line: string): Promise<{ printed: string; seconds: number }> {
  console.error(`$ ${line}`)
  const begun = performance.now()
  const command = line.replace(/^star /, `'${process.execPath}' '${join(packageRoot, 'bin', 'star.js')}' `)
  return new Promise((resolve, reject) => {
    const child = spawn('bash', ['-c', command], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] })
    let printed = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      printed += text
    })
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0) resolve({ printed, seconds: (performance.now() - begun) / 1000 })
      else reject(new Error(`exit code ${code}: ${line}`))
    })
  })
}

/** Seconds that a configuration says its training was expected to take. */
function foretold(config: string): number {
  const text = readFileSync(join(folder, config), 'utf8')
  const [, amount, unit] = /expected to take ([\d.]+) (s|min|h)\b/.exec(text)!
  return Number(amount) * { s: 1, min: 60, h: 3600 }[unit as 's' | 'min' | 'h']
}

await writeIconPictures(join(folder, 'pictures'), Number(values.count), 128)
const { printed } = await run(`star init my-run --data pictures --size ${values.size}`)
for (const line of printed.trim().split('\n')) {
  const { seconds } = await run(line)
  const config = /^star train\S* (\S+)/.exec(line)?.[1]
  const expected = config ? `, foretold ${foretold(config)} s, ratio ${(seconds / foretold(config)).toFixed(2)}` : ''
  console.log(`${line}: ${seconds.toFixed(0)} s${expected}`)
}

await using star = await Star.load(join(folder, 'my-run/transformer/model'), { device: 'cpu' })
using train = await ImageCaptionDataset.open(join(folder, 'my-run/data'), {
  resolution: star.imageSize,
  split: 'train',
})
using heldOut = await ImageCaptionDataset.open(join(folder, 'my-run/data'), {
  resolution: star.imageSize,
  split: 'held-out',
})
const indices = Array.from({ length: train.length }, (_, i) => i)
const { images } = await star.generate(
  indices.map((i) => train.captions(i)[0]),
  { batchSize: 10, seed: 1 },
)
const references: Float32Array[] = []
for (const data of [train, heldOut])
  for (let i = 0; i < data.length; i++) references.push(thumbnail(await data.load(i), star.imageSize))
const nearest = new NearestPictures(
  images.map((image, i) => ({
    thumbnail: thumbnail(image.data, star.imageSize),
    own: { thumbnail: references[indices[i]], id: indices[i] },
    style: null,
  })),
)
for (const [id, picture] of references.entries()) nearest.show({ id, style: null }, picture)
const found = nearest.found()
const among = (places: number): number => Math.round(100 * shareOf(found, ({ rank }) => rank !== null && rank < places))
console.log(
  `of ${found.length} captions ${among(1)} % give a picture nearest to their own, ${among(5)} % among the five nearest of ${references.length}`,
)
