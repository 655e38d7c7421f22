import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { fileNameOf, Recorder } from '../../../lib/train/run-folder/recorder.js'
import { commitOf } from '../../../lib/train/run-folder/run-facts.js'
import { tensorboardScalars } from '../../../lib/train/run-folder/tags.js'
import { crc32c } from '../../../lib/train/run-folder/tensorboard.js'

/** Fields of a protocol buffer message: number → values, as bytes or as a whole number. */
function fields(bytes: Buffer): Map<number, (Buffer | number)[]> {
  const found = new Map<number, (Buffer | number)[]>()
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++]
      value += (byte & 127) * 2 ** shift
      if (byte < 128) return value
    }
  }
  const take = (count: number): Buffer => {
    at += count
    return bytes.subarray(at - count, at)
  }
  while (at < bytes.length) {
    const key = varint()
    const value = [varint, () => take(8), () => take(varint()), undefined, undefined, () => take(4)][key & 7]!()
    found.set(key >> 3, [...(found.get(key >> 3) ?? []), value])
  }
  return found
}

const masked = (bytes: Buffer): number => {
  const crc = crc32c(bytes)
  return ((((crc >>> 15) | (crc << 17)) >>> 0) + 0xa282ead8) % 2 ** 32
}

/** Events of a file, whose checksums are verified. */
function events(t: { equal(a: unknown, b: unknown, text: string): unknown }, file: string) {
  const all = readFileSync(file)
  const list: Map<number, (Buffer | number)[]>[] = []
  for (let at = 0; at < all.length; ) {
    const length = Number(all.readBigUInt64LE(at))
    const data = all.subarray(at + 12, at + 12 + length)
    t.equal(all.readUInt32LE(at + 8), masked(all.subarray(at, at + 8)), 'checksum of the length')
    t.equal(all.readUInt32LE(at + 12 + length), masked(data), 'checksum of the event')
    list.push(fields(data))
    at += 16 + length
  }
  return list
}

const eventFiles = (folder: string): string[] =>
  readdirSync(folder).flatMap((name) => (name.startsWith('events.out.tfevents.') ? [join(folder, name)] : []))

const picture = { width: 2, height: 1, data: Uint8Array.of(255, 0, 0, 0, 0, 255) }

t.test('the checksum is CRC-32C', async (t) => {
  // The check value of the Rocksoft model for CRC-32C.
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
})

t.test('scalars and pictures reach metrics.jsonl, TensorBoard and val_imgs', async (t) => {
  const folder = t.testdir({})
  const recorder = new Recorder({ folder, step: 0, sides: [16, 32] })
  recorder.metrics(300, { loss: 1.5, L2: 2, gradNorm: Number.POSITIVE_INFINITY })
  recorder.pictures(300, 4, [{ prompt: 'a red/blue heart', picture, scales: picture }])
  t.same(JSON.parse(readFileSync(join(folder, 'metrics.jsonl'), 'utf8')), {
    step: 300,
    loss: 1.5,
    L2: 2,
    gradNorm: null,
  })
  const set = join(folder, 'val_imgs', 'ep4_iter300')
  t.same(readdirSync(set).sort(), ['a red blue heart.png', 'a red blue heart.scales.png'])

  const [version, scalars, image, ...rest] = events(t, eventFiles(folder)[0])
  t.equal(String(version.get(3)![0]), 'brain.Event:2')
  t.equal(scalars.get(2)![0], 300)
  const values = fields(scalars.get(5)![0] as Buffer)
    .get(1)!
    .map((value) => fields(value as Buffer))
  t.same(
    values.map((value) => [String(value.get(1)![0]), (value.get(2)![0] as Buffer).readFloatLE()]),
    [
      ['AR_iter_loss/loss', 1.5],
      ['AR_iter_loss/L_32', 2],
    ],
  )
  const drawn = fields(fields(image.get(5)![0] as Buffer).get(1)![0] as Buffer)
  t.equal(String(drawn.get(1)![0]), 'val_imgs/a red blue heart')
  const { 1: height, 2: width, 4: png } = Object.fromEntries(fields(drawn.get(4)![0] as Buffer))
  t.same([height[0], width[0]], [1, 2])
  t.ok((png[0] as Buffer).equals(readFileSync(join(set, 'a red blue heart.png'))))
  t.equal(rest.length, 0)
})

t.test('a run that goes on takes later steps back', async (t) => {
  const folder = t.testdir({})
  const lines = [1, 2, 3].map((step) => `${JSON.stringify({ step, loss: 1 })}\n`)
  writeFileSync(join(folder, 'metrics.jsonl'), `${lines.join('')}{"step":4,"lo`)
  const recorder = new Recorder({ folder, step: 2, sides: [] })
  t.equal(readFileSync(join(folder, 'metrics.jsonl'), 'utf8'), lines.slice(0, 2).join(''))
  recorder.metrics(3, { loss: 2 })
  const [, restart] = events(t, eventFiles(folder)[0])
  t.equal(restart.get(2)![0], 3, 'what TensorBoard has of step 3 and later is void')
  t.same(fields(restart.get(7)![0] as Buffer).get(1), [1], 'a start of the session')
})

t.test('nothing is written before there is something to say', async (t) => {
  const folder = t.testdir({})
  new Recorder({ folder, step: 0, sides: [] })
  t.same(readdirSync(folder), [])
  t.notOk(existsSync(join(folder, 'val_imgs')))
})

t.test('the commit is that of the clone, never of a repository around it', async (t) => {
  const folder = t.testdir({ package: {} })
  const git = (...args: string[]): string =>
    execFileSync('git', ['-C', folder, '-c', 'user.name=a', '-c', 'user.email=a@b', ...args], {
      encoding: 'utf8',
    }).trim()
  git('init', '-q')
  git('commit', '-q', '--allow-empty', '-m', 'first')
  t.equal(commitOf(folder), git('rev-parse', 'HEAD'))
  t.equal(commitOf(join(folder, 'package')), null)
})

t.test('names', async (t) => {
  t.same(
    tensorboardScalars(
      { lossScale: 2048, 'val/Acc1': 50, 'val/Lm': 3, psnr: 20, L3: 1, scales: 3, newScaleWeight: 0.5 },
      [16],
    ),
    {
      'AR_opt_grad/fp16/scale_log2': 11,
      'AR_ep_loss/acc_16': 50,
      'AR_ep_loss/L_mean': 3,
      'star/psnr': 20,
      'star/L3': 1,
      'AR_iter_schedule/prog_si': 2,
      'AR_iter_schedule/prog_wp': 0.5,
    },
  )
  t.equal(fileNameOf('../../etc/passwd'), '_.. .. etc passwd')
  t.equal(fileNameOf('a\u0000b:  c. '), 'a b c')
  t.equal(fileNameOf('x'.repeat(300)).length, 80)
  t.equal(fileNameOf('///'), '_')
})
