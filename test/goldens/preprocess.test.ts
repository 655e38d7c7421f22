import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openPack } from '../../lib/data/pack.js'
import { preprocessImage } from '../../lib/data/preprocess.js'
import { scope } from '../../lib/tensor/index.js'
import { readSafetensors } from '../../lib/weights/safetensors.js'
import { goldenFolder } from '../support/golden.js'

const cases = readdirSync(goldenFolder).filter((name) => /^preprocess_\d+\.safetensors$/.test(name))
t.ok(cases.length > 0, 'the folder holds cases')
const packs = readdirSync(join(goldenFolder, 'pack'))

for (const file of cases) {
  t.test(file, async (t) => {
    const { shape, pixels, note } = scope(() => {
      const { tensors, metadata } = readSafetensors(join(goldenFolder, file))
      const rgb = tensors.get('rgb')!
      return { shape: rgb.shape, pixels: rgb.data(), note: metadata.note }
    })
    const key = /image (\S+) of the pack/.exec(note)![1]
    using pack = openPack(join(goldenFolder, 'pack', packs.find((name) => packs.includes(`${name}-info.json`))!))
    const ours = await preprocessImage(pack.image(key), shape[0])
    t.equal(ours.length, pixels.length)
    let worst = 0
    for (let i = 0; i < ours.length; i++) worst = Math.max(worst, Math.abs(ours[i] - pixels[i]))
    t.equal(worst, 0, 'every byte is equal')
  })
}
