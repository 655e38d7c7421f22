import { readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { fileError, replaceFile, writeAll, writeFileAtomic } from '../../../lib/native/files.js'
import { StarError } from '../../../lib/native/index.js'

const refused = (message: RegExp) => ({ name: 'StarError', code: 'ERR_FILE', message })

t.test('a file is written whole, in folders that are made', async (t) => {
  const dir = t.testdir()
  writeFileAtomic(join(dir, 'a', 'b', 'text'), 'ünï')
  t.equal(readFileSync(join(dir, 'a', 'b', 'text'), 'utf8'), 'ünï')
  const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i)
  writeFileAtomic(join(dir, 'bytes'), (fd) => {
    writeAll(fd, bytes.subarray(0, 7))
    writeAll(fd, bytes.subarray(7))
  })
  t.ok(readFileSync(join(dir, 'bytes')).equals(bytes))
  await replaceFile(join(dir, 'bytes'), (path) => writeFileSync(path, 'new'))
  t.equal(readFileSync(join(dir, 'bytes'), 'utf8'), 'new')
  t.same(readdirSync(dir).sort(), ['a', 'bytes'])
  t.same(readdirSync(join(dir, 'a', 'b')), ['text'])
})

t.test('after an error the old file stands alone', async (t) => {
  const dir = t.testdir({ file: 'old' })
  const file = join(dir, 'file')
  const broken = () => {
    throw new Error('broken')
  }
  t.throws(() => writeFileAtomic(file, broken), { message: 'broken' })
  await t.rejects(
    replaceFile(file, (path) => {
      writeFileSync(path, 'half')
      broken()
    }),
    { message: 'broken' },
  )
  t.throws(
    () =>
      writeFileAtomic(file, () => {
        throw Object.assign(new Error('x'), { code: 'ENOSPC' })
      }),
    refused(/disk is full/),
  )
  t.equal(readFileSync(file, 'utf8'), 'old')
  t.same(readdirSync(dir), ['file'])
})

t.test('folders, devices and places one may not write to are refused', async (t) => {
  const dir = t.testdir({ file: 'old', folder: {} })
  t.throws(() => writeFileAtomic(join(dir, 'folder'), ''), refused(/not a regular file/))
  t.throws(() => writeFileAtomic('/dev/null', ''), refused(/not a regular file/))
  t.throws(() => writeFileAtomic(join(dir, 'file', 'below'), ''), refused(/cannot be written/))
  t.throws(() => writeFileAtomic('/proc/star-t2i/file', ''), refused(/cannot be written/))
  t.throws(() => writeFileAtomic(join(dir, 'n'.repeat(300)), ''), refused(/too long/))
  t.same(readdirSync(dir).sort(), ['file', 'folder'])
})

t.test('a link keeps pointing to the file that is written', async (t) => {
  const dir = t.testdir({ file: 'old' })
  symlinkSync(join(dir, 'file'), join(dir, 'link'))
  writeFileAtomic(join(dir, 'link'), 'new')
  t.equal(readFileSync(join(dir, 'file'), 'utf8'), 'new')
})

t.test('only errors of the system are translated', async (t) => {
  const own = new StarError('ERR_SHAPE', 'x')
  t.equal(fileError('read', 'f', own), own)
  t.equal(fileError('read', 'f', 'text'), 'text')
  t.match(
    fileError('read', 'f', Object.assign(new Error('odd'), { code: 'EODD' })),
    refused(/f cannot be read: odd \(EODD\)/),
  )
})
