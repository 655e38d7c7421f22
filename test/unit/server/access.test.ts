import t from 'tap'
import { Access } from '../../../lib/server/http/access.js'

t.test('which Host headers name this server', async (t) => {
  const local = new Access({ host: '127.0.0.1' })
  for (const host of ['localhost', 'LOCALHOST:7860', '127.0.0.1:1', '127.1.2.3', '[::1]:7860'])
    t.equal(local.knowsHost(host), true, host)
  for (const host of [
    undefined,
    '',
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'user@localhost',
    'localhost:7860/x',
    'localhost evil',
    '10.0.0.1',
    '[fe80::1]',
    '127.0.0.1:',
    '0x7f000001',
  ])
    t.equal(local.knowsHost(host), false, String(host))
  const open = new Access({ host: '0.0.0.0', apiKey: 'k', allowHosts: ['Star.Example.org'] })
  for (const host of ['10.0.0.1:7860', '[fe80::1]:80', 'localhost', 'star.example.org'])
    t.equal(open.knowsHost(host), true)
  for (const host of ['example.org', 'evil.example', 'a.star.example.org']) t.equal(open.knowsHost(host), false)
})

t.test('which origins may ask', async (t) => {
  const access = new Access({ host: '127.0.0.1', allowHosts: ['star.example.org'] })
  t.equal(access.allowsOrigin(undefined, '127.0.0.1:7860'), true, 'no browser')
  t.equal(access.allowsOrigin('http://127.0.0.1:7860', '127.0.0.1:7860'), true)
  t.equal(access.allowsOrigin('https://star.example.org', '127.0.0.1:7860'), true, 'through a reverse proxy')
  for (const origin of ['null', '', 'http://evil.example', 'http://127.0.0.1:3000', 'http://localhost:7860', 'file://'])
    t.equal(access.allowsOrigin(origin, '127.0.0.1:7860'), false, origin)
})

t.test('the key as bearer token and as password', async (t) => {
  const access = new Access({ host: '::', apiKey: 'se:cret' })
  const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`
  for (const header of ['Bearer se:cret', 'bearer se:cret', basic('me:se:cret'), basic(':se:cret')])
    t.equal(access.admits(header), true, header)
  for (const header of [
    undefined,
    '',
    'Bearer',
    'Bearer secret',
    'Bearer se:cret x',
    'se:cret',
    basic('se:cret'),
    basic(''),
  ])
    t.equal(access.admits(header), false, String(header))
  t.equal(new Access({ host: 'localhost' }).admits(undefined), true, 'no key is asked for')
  t.throws(() => new Access({ host: '0.0.0.0' }), { code: 'ERR_ARGUMENT' })
  t.throws(() => new Access({ host: '192.168.1.5' }), { code: 'ERR_ARGUMENT' })
  t.throws(() => new Access({ host: 'localhost', apiKey: ' ' }), { code: 'ERR_ARGUMENT', message: /empty/ })
})
