import { createHash } from 'node:crypto'
import t from 'tap'
import { pickle, unpickle } from '../../../lib/data/pickle.js'

const bytes = (text: string) => Uint8Array.from(Buffer.from(text, 'latin1'))
const hash = (data: Uint8Array) => createHash('sha256').update(data).digest('hex')
const refused = (message: RegExp) => ({ name: 'StarError', code: 'ERR_FILE', message })

t.test('what we write is what Python 3.11 writes with protocol 4', async (t) => {
  t.same(pickle('demo-0000'), bytes('\x80\x04\x95\x0d\0\0\0\0\0\0\0\x8c\x09demo-0000\x94.'))
  t.same(pickle(null), bytes('\x80\x04N.'))
  t.same(pickle([]), bytes('\x80\x04]\x94.'))
  t.same(pickle(new Uint8Array(3)), bytes('\x80\x04\x95\x07\0\0\0\0\0\0\0C\x03\0\0\0\x94.'))
  t.same(pickle(new Uint8Array(256)).subarray(0, 16), bytes('\x80\x04\x95\x07\x01\0\0\0\0\0\0B\0\x01\0\0'))
  t.same(
    pickle(new Uint8Array(65536)).subarray(0, 8),
    bytes('\x80\x04B\0\0\x01\0\0'),
    'large bytes stand outside a frame',
  )
  // Lengths and hashes of pickle.dumps([f'demo-{i:06d}' for i in range(n)], 4): batches of 1000, frames of 64 KiB.
  const lists: [number, number, string][] = [
    [1, 29, '1585d099adae8b34e8ea239f69dcfb64b0f2bd55d0fd19080803c8c850320aa8'],
    [2, 44, '387bad521db81e64391fdab0663eaa411a90dc288d74049aa17b6ba035d5bb38'],
    [1000, 14016, 'c9d56b26e08c4e132d9a19e3d180beefe78f3817f228516737deb880abdca205'],
    [1001, 14032, 'b40474237dc79e805cfa50b23ca6eaf790845a466423e4b8ad5dc42f764bd0d0'],
    [10000, 140052, '9d0e52b9b1b5b7a7d946ddf6e0c5c5650b2664ce494ffe1d4608093ac4cc8037'],
  ]
  for (const [count, length, expected] of lists) {
    const data = pickle(Array.from({ length: count }, (_, i) => `demo-${String(i).padStart(6, '0')}`))
    t.equal(data.length, length)
    t.equal(hash(data), expected)
  }
})

t.test('every protocol of Python is read', async (t) => {
  // pickle.dumps(['a', b'b\xff', 'é\n'], protocol) of Python 3.11
  const protocols = [
    '(lp0\nVa\np1\nac_codecs\nencode\np2\n(Vb\xff\np3\nVlatin1\np4\ntp5\nRp6\naV\xe9\\u000a\np7\na.',
    ']q\0(X\x01\0\0\0aq\x01c_codecs\nencode\nq\x02(X\x03\0\0\0b\xc3\xbfq\x03X\x06\0\0\0latin1q\x04tq\x05Rq\x06X\x03\0\0\0\xc3\xa9\nq\x07e.',
    '\x80\x02]q\0(X\x01\0\0\0aq\x01c_codecs\nencode\nq\x02X\x03\0\0\0b\xc3\xbfq\x03X\x06\0\0\0latin1q\x04\x86q\x05Rq\x06X\x03\0\0\0\xc3\xa9\nq\x07e.',
    '\x80\x03]q\0(X\x01\0\0\0aq\x01C\x02b\xffq\x02X\x03\0\0\0\xc3\xa9\nq\x03e.',
    '\x80\x04\x95\x14\0\0\0\0\0\0\0]\x94(\x8c\x01a\x94C\x02b\xff\x94\x8c\x03\xc3\xa9\n\x94e.',
    '\x80\x05\x95\x14\0\0\0\0\0\0\0]\x94(\x8c\x01a\x94C\x02b\xff\x94\x8c\x03\xc3\xa9\n\x94e.',
  ]
  for (const [protocol, text] of protocols.entries())
    t.same(unpickle(bytes(text)), ['a', bytes('b\xff'), 'é\n'], `protocol ${protocol}`)
  t.same(unpickle(bytes('\x80\x02c__builtin__\nbytes\n)R.')), new Uint8Array(0), 'empty bytes of old protocols')
  t.same(unpickle(bytes('\x80\x04]\x94(\x8c\x01a\x94h\x01e.')), ['a', 'a'], 'a value that occurs twice')
})

t.test('a set is read as a list', async (t) => {
  // pickle.dumps({'a'}, protocol) for protocols 0, 2 and 4 of Python 3.11
  const protocols = [
    'c__builtin__\nset\np0\n((lp1\nVa\np2\natp3\nRp4\n.',
    '\x80\x02c__builtin__\nset\nq\0]q\x01X\x01\0\0\0aq\x02a\x85q\x03Rq\x04.',
    '\x80\x04\x95\x09\0\0\0\0\0\0\0\x8f\x94(\x8c\x01a\x94\x90.',
  ]
  for (const text of protocols) t.same(unpickle(bytes(text)), ['a'])
})

t.test('what we write comes back', async (t) => {
  const values = ['', 'ünï 🍎', 'x'.repeat(300), 'y'.repeat(70_000), null, [], ['one'], [['a'], [], null, bytes('b')]]
  for (const value of values) t.same(unpickle(pickle(value)), value)
  for (const length of [0, 1, 255, 256, 65_535, 65_536, 70_000]) {
    const value = Uint8Array.from({ length }, (_, i) => i)
    t.ok(Buffer.from(value).equals(unpickle(pickle(value)) as Uint8Array), `${length} bytes`)
  }
})

t.test('anything else is refused and nothing runs', async (t) => {
  const cases: [string, string, RegExp][] = [
    ['a call of os.system', 'cos\nsystem\n(S"id"\ntR.', /names the Python object "os.system"/],
    ['a name on the stack', '\x80\x04\x8c\x05posix\x8c\x06system\x93.', /names the Python object "posix.system"/],
    [
      'another codec',
      '\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x06\0\0\0rot_13\x86R.',
      /calls _codecs.encode with arguments that do not fit/,
    ],
    ['a function as the value', 'c_codecs\nencode\n.', /something other than/],
    ['a number', '\x80\x04K\x01.', /something other than/],
    ['a dictionary', '\x80\x04}.', /something other than/],
    ['an object', '\x80\x04\x8c\x01aN\x81.', /instruction 0x81/],
    ['nothing', '', /ends after 0 bytes/],
    ['a cut off text', '\x80\x04\x8c\x09demo', /ends after 8 bytes/],
    ['a length of 2^63', '\x80\x04\x8e\0\0\0\0\0\0\0\x80', /ends after/],
    ['an append without a list', '\x80\x04\x8c\x01a\x8c\x01ba.', /not a list/],
    ['an append to nothing', '\x80\x04Na.', /before there is one/],
    ['a missing mark', '\x80\x04]e.', /mark is missing/],
    ['a memo that is not there', '\x80\x04h\x05.', /recalls value 5/],
    ['two values', '\x80\x04NN.', /does not end in one value/],
    ['bytes after the end', '\x80\x04N.N', /1 bytes follow/],
    ['text that is not UTF-8', '\x80\x04\x8c\x01\xff.', /not UTF-8/],
    ['a character that does not exist', 'V\\UFFFFFFFF\n.', /does not exist/],
    ['protocol 6', '\x80\x06N.', /protocol 6/],
  ]
  for (const [name, text, message] of cases) t.throws(() => unpickle(bytes(text)), refused(message), name)
})
