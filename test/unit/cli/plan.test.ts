// star plan: what it prints, what it refuses, and that training asks it.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { star as run } from '../../support/star-command.js'

t.test('a run that fits, with its parts', async (t) => {
  const { code, stdout } = await run(['plan', 'configs/emoji-64.json', '--memory', '24GB'])
  t.equal(code, 0)
  t.match(stdout, /AdamW moments +0\.05 GB/)
  t.match(stdout, /at most at once +0\.\d\d GB/)
})

const inF32 = ['plan', 'configs/emoji-64.json', '--set', 'precision=f32']

t.test('a run that does not fit says what to change', async (t) => {
  const { code, stderr } = await run([...inF32, '--memory', '300MB'])
  t.equal(code, 2)
  t.match(stderr, /takes 1\.\d\d GB, and the device has 0\.30 GB .*optimizer\.accumulate, now 1.*recompute.*bf16/)
  const smaller = ['--set', 'optimizer.accumulate=8', '--set', 'recompute=true']
  t.equal((await run([...inF32, '--memory', '400MB', ...smaller])).code, 0)
})

t.test('the published d30 at 1024² fits on cards of 24 GB, sharded and recomputed', async (t) => {
  const published = join(t.testdir(), 'd30.json')
  writeFileSync(published, (await run(['config', 'configs/config_d30_1024.json', '--bs', '8', '--fp16', '1'])).stdout)
  const common = ['plan', published, '--memory', '24GB', '--processes', '8', '--set', 'recompute=true', '--json']
  const sharded = await run([...common, '--set', 'optimizer.shard=true'])
  t.equal(sharded.code, 0, sharded.stderr)
  // docs/distributed.md says so.
  t.equal(((JSON.parse(sharded.stdout) as { peak: number }).peak / 1e9).toFixed(1), '11.3')
  const whole = await run(common)
  t.equal(whole.code, 2)
  t.match(whole.stderr, /shard the optimizer \(optimizer\.shard\)/)
  const uneven = await run(['plan', published, '--processes', '3'])
  t.match(uneven.stderr, /3 processes .* need a multiple of 3/)
})

t.test('the drawing of large pictures in 16 bits', async (t) => {
  const args = ['plan', '--generate', '--depth', '30', '--side', '1024', '--json', '--memory', '16GB']
  const half = await run([...args, '--dtype', 'bf16'])
  t.equal(half.code, 0)
  const { peak } = JSON.parse(half.stdout) as { peak: number }
  // What scripts/dry-run measured: 8.96 GB (docs/memory.md).
  t.ok(Math.abs(peak / 8.96e9 - 1) < 0.15, `${peak}`)
  const full = await run([...args, '--dtype', 'f32'])
  t.equal(full.code, 2)
  t.match(full.stderr, /take 16 bits \(--dtype bf16\)/)
})

t.test('the time of pictures on a GPU, at each speed', async (t) => {
  const parts = async (speed: string): Promise<Map<string, number>> => {
    const args = ['plan', '--generate', '--dtype', 'bf16', '--time', 'h100', '--json', '--speed', speed]
    const { stdout } = await run(args)
    const plan = JSON.parse(stdout) as { parts: { part: string; operations: number }[] }
    return new Map(plan.parts.map(({ part, operations }) => [part, operations]))
  }
  const [full, fast, turbo] = [await parts('full'), await parts('fast'), await parts('turbo')]
  t.strictSame([...fast.keys()], [...full.keys()])
  const share = (of: typeof full, part: string): number => of.get(part)! / full.get(part)!
  const last = 'scale 10, 16×16'
  // Without guidance half of it is computed; of that, turbo computes a quarter of the blocks' work.
  t.ok(Math.abs(share(fast, last) - 0.5) < 0.01, `${share(fast, last)}`)
  t.ok(share(turbo, last) > 0.1 && share(turbo, last) < 0.25, `${share(turbo, last)}`)
  t.equal(share(turbo, 'scale 7, 8×8'), 1)
  t.equal(share(turbo, 'decoder'), 1)
})

t.test('what it does not take', async (t) => {
  t.match((await run(['plan', 'configs/emoji-64.json', '--memory', 'much'])).stderr, /--memory is "much"/)
  t.match((await run(['plan', '--generate', '--side', '300'])).stderr, /--side is 300, expected 256, 512, 1024/)
})
