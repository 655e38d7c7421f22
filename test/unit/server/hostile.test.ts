/** Hostile requests on the loopback address: each is refused, and the next good request works. */
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { crc32, deflateSync } from 'node:zlib'
import sharp from 'sharp'
import t from 'tap'
import { post, tinyServer } from '../../support/draw-server.js'

/** Sends bytes as they are, and gives what comes until the other side ends. */
function raw(address: string, parts: AsyncIterable<string | Buffer> | Iterable<string | Buffer>): Promise<string> {
  return new Promise((resolve) => {
    const { hostname, port } = new URL(address)
    const socket = connect({ host: hostname, port: Number(port) })
    let text = ''
    socket.on('data', (data) => {
      text += data.toString('latin1')
    })
    // A reset is an answer, too.
    socket.on('error', () => {})
    socket.on('close', () => resolve(text))
    socket.on('connect', async () => {
      for await (const part of parts) {
        if (socket.destroyed) break
        if (!socket.write(part)) await new Promise((drained) => socket.once('drain', drained).once('close', drained))
      }
    })
  })
}

const head = (path: string, headers: string[] = [], host = 'localhost'): string =>
  [`POST ${path} HTTP/1.1`, `Host: ${host}`, ...headers, '', ''].join('\r\n')
const status = (answer: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1])

t.test('hostile requests', async (t) => {
  const { server, address, log } = await tinyServer(t, { timeouts: { headers: 400, request: 1000, response: 1000 } })
  await server.ready
  const good = async (t: { equal(a: unknown, b: unknown, what: string): unknown }, what: string): Promise<void> => {
    const answer = await post(address, '/v1/images/generations', { prompt: 'a', seed: 1 })
    t.equal(answer.status, 200, `after ${what} a good request works`)
    await answer.arrayBuffer()
  }

  await t.test('clients that are slow', async (t) => {
    async function* slowly(text: string): AsyncGenerator<string> {
      for (const letter of text) {
        yield letter
        await delay(60)
      }
    }
    const slow = await Promise.all([
      raw(address, slowly(`${head('/v1/images/generations').slice(0, -4)}\r\nX: ${'y'.repeat(50)}`)),
      raw(address, slowBody()),
    ])
    t.same(slow.map(status), [408, 408])
    await good(t, 'slow clients')
    async function* slowBody(): AsyncGenerator<string> {
      yield head('/v1/images/generations', ['Content-Type: application/json', 'Content-Length: 999'])
      yield* slowly('{"prompt": "a red apple, and so on and so forth"')
    }
  })

  await t.test('connections that send nothing', async (t) => {
    const { hostname, port } = new URL(address)
    const sockets = await Promise.all(
      Array.from(
        { length: 1000 },
        () =>
          new Promise<Socket>((resolve, reject) => {
            const socket = connect({ host: hostname, port: Number(port) }, () => resolve(socket))
            socket.once('error', reject)
          }),
      ),
    )
    await good(t, 'a thousand of them')
    await Promise.all(
      sockets.map(
        (socket) =>
          new Promise((resolve) =>
            socket
              .on('error', () => {})
              .on('close', resolve)
              .resume(),
          ),
      ),
    )
    t.pass('they are closed')
  })

  await t.test('a client that does not read', async (t) => {
    const { hostname, port } = new URL(address)
    const request = 'GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n'
    const answer = (await (await fetch(new URL('/openapi.json', address))).arrayBuffer()).byteLength
    const count = Math.ceil((64 << 20) / answer)
    const socket = connect({ host: hostname, port: Number(port) })
    socket.on('error', () => {})
    // Nothing reads: no listener for data, and the stream is not flowing.
    await new Promise<void>((resolve) => socket.once('connect', () => resolve()))
    for (let i = 0; i < count; i += 100) socket.write(request.repeat(100))
    await good(t, 'a client that does not read')
    await delay(4000)
    let read = 0
    socket.on('data', (data) => {
      read += data.length
    })
    await new Promise((resolve) => socket.once('close', resolve))
    t.ok(
      read < count * answer,
      `${read >> 20} of ${(count * answer) >> 20} MiB were sent before the connection was closed`,
    )
  })

  await t.test('bodies without end', async (t) => {
    const piece = Buffer.alloc(1 << 20, 32)
    let sent = 0
    function* pieces(chunked: boolean): Generator<string | Buffer> {
      for (sent = 0; sent < 1 << 30; sent += piece.length) {
        if (chunked) yield `${piece.length.toString(16)}\r\n`
        yield piece
        if (chunked) yield '\r\n'
      }
    }
    const json = 'Content-Type: application/json'
    function* said(): Generator<string | Buffer> {
      yield head('/v1/images/generations', [json, `Content-Length: ${1 << 30}`])
      yield* pieces(false)
    }
    const before = process.memoryUsage().rss
    const announced = await raw(address, said())
    t.ok(status(announced) === 413 || announced === '', announced.slice(0, 100))
    t.ok(sent < 64 << 20, `${sent >> 20} MiB of a gibibyte were taken`)
    function* chunked(): Generator<string | Buffer> {
      yield head('/v1/images/generations', [json, 'Transfer-Encoding: chunked'])
      yield* pieces(true)
    }
    await raw(address, chunked())
    t.ok(sent < 64 << 20, `${sent >> 20} MiB of a gibibyte in chunks were taken`)
    t.ok(process.memoryUsage().rss - before < 256 << 20, 'nothing of it is kept')
    const large = await post(address, '/v1/images/generations', { prompt: 'a'.repeat(300_000) })
    t.equal(large.status, 413)
    t.match(await large.json(), { error: { code: 'body_too_large' } })
    await good(t, 'endless bodies')
  })

  await t.test('bodies that are nothing', async (t) => {
    for (const body of [
      '',
      '{',
      '{"prompt"',
      'null',
      '[]',
      '"a"',
      '1',
      '{"__proto__":{"n":1},"prompt":"a"}',
      '\u0000',
      `${'['.repeat(50_000)}`,
    ]) {
      const answer = await post(address, '/v1/images/generations', body)
      t.equal(answer.status, 400, body.slice(0, 20))
      const text = await answer.text()
      t.match(JSON.parse(text), { error: { type: 'invalid_request_error' } })
      t.notMatch(text, /\bat .*\.js/, 'no stack')
    }
    const as = (
      type: string,
      path = '/v1/images/generations',
      body = '--x\r\nContent-Disposition: form',
    ): Promise<Response> => post(address, path, body, { 'content-type': type })
    t.equal((await as('multipart/form-data; boundary=x')).status, 415)
    t.equal((await as('multipart/form-data; boundary=x', '/v1/images/edits')).status, 400)
    t.equal((await as('text/plain')).status, 415)
    t.equal((await as('application/x-www-form-urlencoded', '/sdapi/v1/txt2img')).status, 415)
    await good(t, 'broken bodies')
  })

  await t.test('addresses of elsewhere', async (t) => {
    const get = (path: string, headers: string[] = [], host = 'localhost'): Promise<string> =>
      raw(address, [[`GET ${path} HTTP/1.1`, `Host: ${host}`, 'Connection: close', ...headers, '', ''].join('\r\n')])
    for (const path of [
      '/../../../etc/passwd',
      '/..%2f..%2f..%2fetc%2fpasswd',
      '/v1/images/files/..%2f..%2fpackage.json',
      '/v1/images/files/%2e%2e/%2e%2e/package.json',
      '/v1/models/..%2f..%2fetc%2fpasswd',
      '/draw.js/../../index.js',
      '//etc/passwd',
    ])
      t.equal(status(await get(path)), 404, path)
    t.equal(status(await get('/%ff')), 400)
    for (const host of ['evil.example', 'localhost.evil.example', '169.254.169.254', 'a@localhost'])
      t.equal(status(await get('/v1/models', [], host)), 403, host)
    for (const origin of ['http://evil.example', 'null', 'http://localhost:1'])
      t.equal(status(await get('/v1/models', [`Origin: ${origin}`])), 403, origin)
    t.equal(status(await get('/v1/models', ['X-Forwarded-Host: evil.example'])), 200)
    t.match(await get('/v1/models', [`X: ${'y'.repeat(100_000)}`]), /^$|HTTP\/1\.1 431/)
    t.match(await raw(address, ['\x16\x03\x01\x02\x00\x01\x00\r\n\r\n']), /^HTTP\/1\.1 400/)
    await good(t, 'foreign addresses')
  })

  await t.test('pictures that are none, or far too large', async (t) => {
    const send = (path: string, body: Buffer, type = 'image/png'): Promise<Response> =>
      fetch(new URL(path, address), { method: 'POST', headers: { 'content-type': type }, body: new Uint8Array(body) })
    t.equal((await send('/v1/images/settings', Buffer.from('no picture'))).status, 400)
    t.equal((await send('/v1/images/settings', Buffer.alloc(0))).status, 400)
    t.equal((await send('/v1/images/settings', Buffer.alloc(17 << 20))).status, 413)
    t.equal((await send('/v1/images/convert?output_format=gif', Buffer.alloc(8))).status, 400)
    const plain = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    t.match(await (await send('/v1/images/settings', plain)).json(), { error: { code: 'no_settings' } })
    t.equal((await send('/v1/images/settings', await pngBomb(100_000))).status, 400)
    const bomb = await pngBomb(8000)
    t.ok(bomb.length < 4 << 20, `${bomb.length} bytes of file`)
    const began = performance.now()
    const refused = await send('/v1/images/convert?output_format=webp', bomb)
    t.equal(refused.status, 400, `after ${Math.round(performance.now() - began)} ms`)
    t.match(await refused.json(), { error: { code: 'invalid_image' } })
    await good(t, 'a picture bomb')
  })
  t.same(
    log.filter((line) => !/ is loaded /.test(line)),
    [],
    'none of it is a fault',
  )
})

/** A picture of side × side pixels in a small file, with settings in it as ours have them. */
async function pngBomb(side: number): Promise<Buffer> {
  const { withPngText } = await import('../../../lib/data/index.js')
  const chunk = (type: string, body: Buffer): Buffer => {
    const typed = Buffer.concat([Buffer.from(type, 'latin1'), body])
    const out = Buffer.alloc(8)
    out.writeUInt32BE(body.length, 0)
    out.writeUInt32BE(crc32(typed), 4)
    return Buffer.concat([out.subarray(0, 4), typed, out.subarray(4)])
  }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(side, 0)
  header.writeUInt32BE(side, 4)
  header.set([8, 2, 0, 0, 0], 8)
  const rows = deflateSync(Buffer.alloc((side * 3 + 1) * 1000))
  const png = Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('IDAT', rows),
    chunk('IEND', Buffer.alloc(0)),
  ])
  const settings = {
    prompt: 'a',
    model: 'm',
    weights: 'w',
    dtype: 'f32',
    device: 'cpu',
  }
  return withPngText(png, { 'star-t2i': JSON.stringify(settings) })
}
