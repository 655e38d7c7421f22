/** The type that a model draws in where nobody says. */
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { drawingTypes } from '../../../lib/engine/model-type.js'
import { Star } from '../../../lib/index.js'
import { native } from '../../../lib/native/index.js'
import { writeTinyModel } from '../../support/tiny-model.js'

const bf16 = native.multipliesBf16()
const floats = new Set(['F32'])
const halves = new Set(['F16', 'F32'])
const bytes = new Set(['I8', 'F32', 'F16'])

t.test(
  'bf16 on processors that multiply it faster than f32',
  { skip: !existsSync('/proc/cpuinfo') && 'no /proc/cpuinfo' },
  async (t) => {
    const info = readFileSync('/proc/cpuinfo', 'utf8')
    const has = (flag: string): boolean => new RegExp(`^flags.*\\b${flag}\\b`, 'm').test(info)
    t.equal(bf16, has('amx_bf16') || (has('avx512_bf16') && !/GenuineIntel/.test(info)))
  },
)

t.test('auto', async (t) => {
  const of = (device: string, stored: ReadonlySet<string>) => drawingTypes({}, { device, stored }).dtype
  t.equal(of('cpu', floats), bf16 ? 'bf16' : 'f32')
  t.equal(of('cpu', halves), bf16 ? 'bf16' : 'f32', 'f16 is widened on the CPU')
  t.equal(of('simt', floats), 'f32')
  t.strictSame(
    [floats, halves, bytes].map((stored) => of('cuda', stored)),
    ['bf16', 'f16', 'int8'],
  )
  t.equal(of('cpu', bytes), 'int8')
  t.equal(drawingTypes({}, { device: 'cuda', stored: bytes }).half, 'f16', 'what is not in 8 bits')
})

t.test('a type that is asked for is taken', async (t) => {
  for (const dtype of ['f32', 'f16', 'bf16', 'int8'] as const)
    for (const stored of [floats, halves, bytes])
      t.equal(drawingTypes({ dtype }, { device: 'cpu', stored }).dtype, dtype)
  t.equal(drawingTypes({ dtype: 'auto' }, { device: 'cuda', stored: halves }).dtype, 'f16')
})

t.test('pictures and info name what auto became, and it draws the same again', async (t) => {
  const folder = t.testdir()
  writeTinyModel(folder)
  await using star = await Star.load(folder, { device: 'cpu', dtype: 'auto' })
  const { dtype } = star.info()
  t.equal(dtype, bf16 ? 'bf16' : 'f32')
  const { images } = await star.generate('a red apple', { seed: 3 })
  t.equal((await Star.settingsOf(await images[0].toBuffer('png'))).dtype, dtype)
  await using again = await Star.load(folder, { device: 'cpu', dtype })
  const { images: same } = await again.generate('a red apple', { seed: 3 })
  t.strictSame(same[0].data, images[0].data)
})
