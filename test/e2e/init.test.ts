/**
 * From a folder of pictures to a picture of a model of them, by the commands that "star init" prints, with trainings of few steps.
 * scripts/own-pictures.ts trains as many as the configurations say and measures what comes of it.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { words } from '../support/doc-blocks.js'
import { writeIconPictures } from '../support/icon-pictures.js'
import { star } from '../support/star-command.js'

t.test('star init, and the commands that it prints', async (t) => {
  const folder = t.testdir()
  await writeIconPictures(join(folder, 'my pictures'), 6, 48)
  const init = ['init', 'my run', '--data', 'my pictures']
  const { code, stdout, stderr } = await star(init, { cwd: folder })
  t.equal(code, 0, stderr)
  t.match(stderr, /^6 pictures\nshorter side: 48 pixels\ncaptions: 1 to 2 words \(median 1\), such as "[a-z ]+"\n/)
  t.match(stderr, /the model will draw 32×32 pixels\n/)
  t.match(stderr, /my run\/tokenizer\.json +800 steps of 8 pictures: about [\d.]+ (s|min|h) and 0\.\d GB of memory\n/)
  const commands = stdout.trim().split('\n').map(words)
  t.same(
    commands.map(([name, command]) => [name, command]),
    [
      ['star', 'pack'],
      ['star', 'train-tokenizer'],
      ['star', 'train'],
      ['star', 'sample'],
    ],
  )
  let printed = ''
  for (const [, ...args] of commands) {
    const small = args[0].startsWith('train') ? ['--set', 'optimizer.steps=3', '--set', 'work.picturesEvery=3'] : []
    const done = await star([...args, ...small], { cwd: folder })
    t.equal(done.code, 0, `${args.join(' ')}: ${done.stderr}`)
    printed = done.stdout.trim()
  }
  t.match(await sharp(join(folder, printed)).metadata(), { width: 32, height: 32 })
  t.ok(
    existsSync(join(folder, 'my run/transformer/val_imgs')),
    'the prompts of the configuration were drawn on the way',
  )

  const again = await star(init, { cwd: folder })
  t.same(
    [again.code, again.stderr],
    [2, 'error: my run/tokenizer.json is there already: name another folder, or give --force\n'],
  )
  const odd = await star(['init', 'other', '--data', 'my pictures', '--size', '100'], { cwd: folder })
  t.same([odd.code, odd.stderr.split('\n').at(-2)], [2, 'error: --size is 100, expected 32, 64, 128, 256, 512'])
  const none = await star(['init', 'other', '--data', 'none'], { cwd: folder })
  t.match(none, { code: 2, stderr: /^error: none does not exist[^\n]*\n$/ })
})
