import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { downloadFromHub, type HubOptions, hubReference } from '../../../lib/weights/hub.js'
import { commit, type HubBehaviour, HubServer, hashOf } from '../../support/hub-server.js'

const weights = Buffer.from(Float32Array.from({ length: 50_000 }, (_, i) => Math.sin(i)).buffer)
const contents = { 'config.json': Buffer.from('{"a": 1}'), 'sub/weights.bin': weights, 'empty.txt': Buffer.alloc(0) }
const reference = (text = 'org/name') => hubReference(text)!

/** A server and a cache of its own; the environment is put back at the end. */
async function setUp(t: Test, behaviour: HubBehaviour = {}, files: Record<string, Buffer> = contents) {
  const hub = await HubServer.start('org/name', files)
  hub.behaviour = behaviour
  const before = { ...process.env }
  process.env.HF_ENDPOINT = `${hub.url}/`
  for (const name of ['HF_TOKEN', 'HF_HUB_OFFLINE']) delete process.env[name]
  t.teardown(async () => {
    process.env = before
    await hub.stop()
  })
  const cacheDir = join(t.testdir(), 'hub')
  /** Fetches the file that is named, or all. */
  const get = (text?: string, options: HubOptions = {}) => {
    const { path } = reference(text)
    return downloadFromHub(reference(text), (paths) => (path ? [path] : paths), { cacheDir, ...options })
  }
  const refused = (message: RegExp, text?: string, options?: HubOptions) =>
    t.rejects(get(text, options), { name: 'StarError', code: 'ERR_FILE', message })
  return { hub, cacheDir, get, refused, repo: join(cacheDir, 'models--org--name') }
}

t.test('names of models, files and revisions', async (t) => {
  t.same(reference('org/name'), { id: 'org/name', revision: 'main', path: '' })
  t.same(reference('org/name@v1.0/a/b.pth'), { id: 'org/name', revision: 'v1.0', path: 'a/b.pth' })
  for (const text of [
    'name',
    '/org/name',
    './org/name',
    '../org',
    'org/name/../x',
    'org/name/',
    'a\\b/c',
    'org/..',
    '',
  ])
    t.equal(hubReference(text), undefined, text)
})

t.test('all files arrive whole, in the layout of the cache, once', async (t) => {
  const { hub, get, repo } = await setUp(t)
  const events: [string, number, number][] = []
  const folder = await get('org/name', { onProgress: ({ file, done, total }) => events.push([file, done, total]) })
  t.equal(folder, join(repo, 'snapshots', commit))
  for (const [name, data] of Object.entries(contents)) t.ok(readFileSync(join(folder, name)).equals(data), name)
  t.equal(readlinkSync(join(folder, 'sub', 'weights.bin')), join('..', '..', '..', 'blobs', hashOf(weights)))
  t.equal(readFileSync(join(repo, 'refs', 'main'), 'utf8'), commit)
  t.same(readdirSync(join(repo, 'blobs')).sort(), Object.values(contents).map(hashOf).sort(), 'nothing else is left')
  const total = weights.length + 8
  t.ok(events.length >= 3)
  t.same(events.at(-1), ['empty.txt', total, total])
  t.ok(
    events.every(([, done], i) => i === 0 || done >= events[i - 1][1]),
    'progress never goes back',
  )

  t.equal(hub.downloads.length, 2)
  t.equal(await get('org/name/sub/weights.bin'), join(folder, 'sub', 'weights.bin'))
  t.equal(hub.downloads.length, 2, 'nothing is fetched twice')
})

t.test('only what is wanted is fetched', async (t) => {
  const { hub, cacheDir } = await setUp(t)
  await downloadFromHub(reference(), (paths) => paths.filter((path) => path.endsWith('.json')), { cacheDir })
  t.same(
    hub.downloads.map(({ path }) => path.split('/').at(-1)),
    ['config.json'],
  )
})

t.test('a broken connection is resumed', async (t) => {
  const { hub, get } = await setUp(t, { cutAfter: 70_000, cuts: 2 })
  const file = await get('org/name/sub/weights.bin')
  t.ok(readFileSync(file).equals(weights))
  const ranges = hub.downloads.filter(({ path }) => path.endsWith('weights.bin')).map(({ range }) => range)
  t.equal(ranges[0], 'bytes=0-')
  t.equal(ranges.length, 3, '200,000 bytes at 70,000 each, then the rest')
  const begins = ranges.map((range) => Number(/bytes=(\d+)-/.exec(range ?? '')?.[1]))
  t.ok(
    begins.every((begin, i) => i === 0 || begin > begins[i - 1]),
    `each begins where the last one ended: ${begins}`,
  )
})

t.test('an aborted download resumes in the next call', async (t) => {
  const { hub, get, repo } = await setUp(t)
  const controller = new AbortController()
  const reason = new Error('stopped by the test')
  const onProgress = ({ file, done }: { file: string; done: number }) => {
    if (file.endsWith('weights.bin') && done > 50_000) controller.abort(reason)
  }
  await t.rejects(get('org/name', { signal: controller.signal, onProgress }), { message: 'stopped by the test' })
  const left = readdirSync(join(repo, 'blobs')).filter((name) => name.endsWith('.incomplete'))
  t.same(left, [`${hashOf(weights)}.incomplete`])
  const begin = readFileSync(join(repo, 'blobs', left[0])).length
  t.ok(begin > 0 && begin < weights.length)
  t.notOk(existsSync(join(repo, 'snapshots', commit, 'sub')), 'a file that is not whole is not in the snapshot')
  hub.requests.length = 0
  t.ok(readFileSync(await get('org/name/sub/weights.bin')).equals(weights))
  t.equal(hub.downloads[0].range, `bytes=${begin}-`)
})

t.test('a server that knows no ranges sends all of it again', async (t) => {
  const { get, repo } = await setUp(t, { wholeOnly: true })
  mkdirSync(join(repo, 'blobs'), { recursive: true })
  writeFileSync(join(repo, 'blobs', `${hashOf(weights)}.incomplete`), weights.subarray(0, 1000))
  t.ok(readFileSync(await get('org/name/sub/weights.bin')).equals(weights))
})

t.test('a file that is not what was listed is refused and removed', async (t) => {
  const { refused, repo, hub, get } = await setUp(t, { damaged: true })
  await refused(/has the hash [0-9a-f]+, expected [0-9a-f]+: the connection or the cache damaged it/)
  t.same(
    readdirSync(join(repo, 'blobs')).filter((name) => name.endsWith('.incomplete')),
    [],
  )
  hub.behaviour = {}
  writeFileSync(join(repo, 'blobs', `${hashOf(weights)}.incomplete`), Buffer.alloc(weights.length + 1))
  t.ok(readFileSync(await get('org/name/sub/weights.bin')).equals(weights), 'and what is too long is begun anew')
})

t.test('tokens are sent where they are wanted, and to nobody else', async (t) => {
  const token = 'hf_test'
  const { hub, refused, get } = await setUp(t, { token })
  const storage = await HubServer.start('org/name', contents)
  t.teardown(() => storage.stop())
  await refused(/wants a token, or there is no such model \(401\): check the name, or set HF_TOKEN/)
  process.env.HF_TOKEN = 'hf_other'
  await refused(/refuses the token in HF_TOKEN \(401\)/)
  process.env.HF_TOKEN = 'other'
  await refused(/HF_TOKEN is no token of Hugging Face, which begin with "hf_"/)
  process.env.HF_TOKEN = token
  hub.behaviour = { token, storage: storage.url }
  t.ok(readFileSync(await get('org/name/sub/weights.bin')).equals(weights))
  t.ok(storage.requests.length > 0)
  t.ok(
    storage.requests.every(({ authorization }) => authorization === undefined),
    'another server does not get the token',
  )
})

t.test('what cannot be had is said in one line', async (t) => {
  const { hub, refused, get } = await setUp(t)
  await refused(/org\/other cannot be downloaded: .* has no such model or revision "main" \(404\)/, 'org/other')
  await refused(/has no such model or revision "v9" \(404\)/, 'org/name@v9')
  await refused(
    /has no file or folder "sub\/weight\.bin", did you mean "sub\/weights\.bin"\?/,
    'org/name/sub/weight.bin',
  )
  hub.behaviour = { status: 503 }
  await refused(/answered with status 503: try again later/)
  await hub.stop()
  await refused(/cannot be reached: fetch failed \(.+\)\. Check the connection and HF_ENDPOINT; --offline uses/)
  await t.rejects(get('org/name', { signal: AbortSignal.abort(new Error('stop')) }), { message: 'stop' })
})

t.test('offline, only the cache is asked', async (t) => {
  const { hub, refused, get } = await setUp(t)
  await refused(/is not in the cache, and downloads are turned off: run it once without --offline/, 'org/name', {
    offline: true,
  })
  const folder = await get()
  hub.requests.length = 0
  process.env.HF_HUB_OFFLINE = '1'
  t.equal(await get(), folder)
  t.equal(await get(`org/name@${commit}/config.json`), join(folder, 'config.json'))
  await refused(/has no file or folder "other\.bin"/, 'org/name/other.bin')
  await refused(/is not in the cache/, 'org/name@v2')
  t.same(hub.requests, [])
  t.equal(await get('org/name', { offline: false }), folder, 'an option goes before the environment')
})

t.test('names that lead out of the cache are refused', async (t) => {
  for (const path of ['../outside', '/etc/passwd', 'a/../../b', 'a\\b', 'a//b']) {
    const { refused, repo } = await setUp(t, {}, { [path]: Buffer.from('x') })
    await refused(/which is not safe to store/)
    t.notOk(existsSync(join(repo, 'blobs')))
  }
})

t.test('one of several that want the same file fetches it', async (t) => {
  const { hub, get, repo } = await setUp(t)
  const folders = await Promise.all([get(), get(), get()])
  t.equal(new Set(folders).size, 1)
  t.equal(hub.downloads.filter(({ path }) => path.endsWith('weights.bin')).length, 1)
  t.same(
    readdirSync(join(repo, 'blobs')).filter((name) => name.endsWith('.lock')),
    [],
  )
})

t.test('a lock that is left over is not waited for', async (t) => {
  const { get, repo } = await setUp(t)
  const lock = join(repo, 'blobs', `${hashOf(weights)}.lock`)
  mkdirSync(join(repo, 'blobs'), { recursive: true })
  writeFileSync(lock, `999999999 ${hostname()}`)
  t.ok(readFileSync(await get('org/name/sub/weights.bin')).equals(weights), 'of a process that is gone')
  rmSync(repo, { recursive: true })
  mkdirSync(join(repo, 'blobs'), { recursive: true })
  writeFileSync(lock, '1 another-machine')
  const anHourAgo = Date.now() / 1000 - 3600
  utimesSync(lock, anHourAgo, anHourAgo)
  t.ok(readFileSync(await get('org/name/sub/weights.bin')).equals(weights), 'of another machine that writes nothing')
})
