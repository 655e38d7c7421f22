import { CommanderError } from 'commander'
import t from 'tap'
import { Interrupted } from '../../../lib/cli/interrupt.js'
import { report } from '../../../lib/cli/main.js'
import { number, wholeNumber } from '../../../lib/cli/options.js'
import { checkWritable, type PictureName, picturePaths, slug } from '../../../lib/cli/output.js'
import { StarError } from '../../../lib/native/error.js'

t.test('option values', async (t) => {
  t.equal(wholeNumber('--n', 1)('12'), 12)
  t.equal(number('--x', 0, 1)('0.5'), 0.5)
  for (const bad of ['', ' ', 'x', '1.5', '-1', '0', 'Infinity', 'NaN', '1e30'])
    t.throws(() => wholeNumber('--n', 1, 100)(bad), {
      code: 'ERR_ARGUMENT',
      message: `--n is "${bad}", expected a whole number from 1 to 100`,
    })
  for (const bad of ['', 'x', '-0.1', '1.1', 'Infinity'])
    t.throws(() => number('--x', 0, 1)(bad), { code: 'ERR_ARGUMENT' })
})

t.test('names of pictures', async (t) => {
  t.equal(slug('A red  apple!'), 'a-red-apple')
  t.equal(slug('../../etc/passwd'), 'etc-passwd')
  t.equal(slug('красное яблоко'), 'красное-яблоко')
  t.equal(slug('!?'), 'picture')
  t.ok(slug('word '.repeat(100)).length <= 48)
  const pictures = [1, 2].map((seed) => ({ prompt: 'a cat', seed }))
  const folder = t.testdir({ 'old.png': '', 'old-2.png': '', 'a-cat-1.png': '' })
  const paths = (out: string, some: readonly PictureName[], force = false) => picturePaths(out, some, force)
  t.same(paths('x.png', pictures.slice(1)), ['x.png'])
  t.same(paths('x.PNG', pictures), ['x-1.PNG', 'x-2.PNG'])
  t.same(paths('x.webp', pictures), ['x-1.webp', 'x-2.webp'])
  t.same(paths('out', pictures), ['out/a-cat-1.png', 'out/a-cat-2.png'])
  t.same(paths('out', [pictures[0], pictures[0]]), ['out/a-cat-1.png', 'out/a-cat-1-2.png'])
  t.same(paths(`${folder}/old.png`, [pictures[0]]), [`${folder}/old-3.png`], 'a free number')
  t.same(paths(`${folder}/old.png`, [pictures[0]], true), [`${folder}/old.png`])
  t.same(paths(`${folder}/old.png`, pictures), [`${folder}/old-1.png`, `${folder}/old-2-2.png`])
  t.same(paths(folder, pictures), [`${folder}/a-cat-1-2.png`, `${folder}/a-cat-2.png`])
  t.throws(() => paths('x.gif', pictures), { code: 'ERR_ARGUMENT', message: /\.png, \.jpg, \.webp or \.avif/ })
})

t.test('writable outputs', async (t) => {
  const folder = t.testdir({ file: '' })
  checkWritable(`${folder}/new/deep/x.png`)
  checkWritable(`${folder}/file`)
  t.throws(() => checkWritable(folder), { code: 'ERR_FILE' })
  t.throws(() => checkWritable(`${folder}/file/x.png`), { code: 'ERR_FILE' })
})

t.test('errors become one line and an exit code', async (t) => {
  const lines = (error: unknown): [number, string[]] => {
    const printed: string[] = []
    return [report(error, (line) => printed.push(line)), printed]
  }
  t.same(lines(new StarError('ERR_FILE', 'no file\n  there')), [2, ['error: no file there']])
  t.same(lines(new CommanderError(1, 'commander.unknownOption', "error: unknown option '--x'\n(Did you mean --y?)")), [
    2,
    [`error: unknown option '--x' (Did you mean --y?); see "star --help"`],
  ])
  t.same(lines(new CommanderError(0, 'commander.version', '1.0.0')), [0, []])
  t.same(lines(new Interrupted('stopped: nothing was written')), [130, ['stopped: nothing was written']])
  const [code, [line]] = lines(new TypeError('x is not a function'))
  t.equal(code, 1)
  t.match(line, /^error: unexpected: x is not a function \(STAR_DEBUG/)
  process.env.STAR_DEBUG = '1'
  t.match(lines(new StarError('ERR_FILE', 'no file'))[1][1], /StarError: no file\n\s+at /)
  delete process.env.STAR_DEBUG
})
