/** The end of `star serve`: requests at work are answered, new ones refused, and the exit code is 0. */
import { join } from 'node:path'
import t from 'tap'
import { metric, post, tinyServer, until } from '../../support/draw-server.js'
import { star } from '../../support/star-command.js'
import { writeTinyModel } from '../../support/tiny-model.js'

t.test('a server that stops answers what is at work', async (t) => {
  const { server, address } = await tinyServer(t, { batch: 1 })
  await server.ready
  // Of different settings, so that one comes after the other.
  const work = [0, 1, 2].map((cfg) => post(address, '/v1/images/generations', { prompt: 'a', n: 8, cfg }))
  await until('it is drawn', async () => (await metric(address, 'star_requests_drawing')) === 1)
  const closed = server.close()
  const late = await post(address, '/v1/images/generations', { prompt: 'a' })
  t.equal(late.status, 503)
  t.match(await late.json(), { error: { code: 'stopping' } })
  t.equal((await fetch(new URL('/readyz', address))).status, 503)
  t.equal((await fetch(new URL('/healthz', address))).status, 200)
  for (const answer of await Promise.all(work)) {
    t.equal(answer.status, 200)
    t.equal(((await answer.json()) as { data: unknown[] }).data.length, 8)
  }
  await closed
  await t.rejects(fetch(address))
})

t.test('the command ends with 0, and says what it cannot do', async (t) => {
  const model = join(t.testdir({}), 'tiny')
  writeTinyModel(model)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    let sent = false
    const { code, stdout, stderr } = await star(['serve', model, '--port', '0', '--device', 'cpu'], {
      onOutput: (text, kill) => {
        if (sent || !text.includes('is loaded')) return
        sent = true
        kill(signal)
      },
    })
    t.equal(code, 0, stderr)
    t.match(stdout, /^http:\/\/127\.0\.0\.1:\d+\/ draws with .*; Ctrl-C ends\n$/)
    t.match(stderr, /^star serve: tiny is loaded \(cpu\)\n$/)
  }
  for (const [args, message] of [
    [['serve', model, '--host', '0.0.0.0'], /add --api-key KEY/],
    [['serve', join(model, 'none')], /there is no/],
    [['serve', model, '--idle-unload', 'soon'], /--idle-unload is "soon", expected a time such as 10m/],
    [['serve', model, '--queue', '-1'], /--queue is "-1"/],
  ] as const)
    t.match(await star(args), { code: 2, stderr: message }, args.join(' '))
})
