/** A registry of npm packages on this machine, which hands on what it does not hold to the one that npm is set up with. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { packageRoot } from '../../lib/native/index.js'

const run = promisify(execFile)

/** A port that nobody listens on: Verdaccio reports the number that it was given, so that 0 is of no use. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

export class LocalRegistry {
  private constructor(
    readonly url: string,
    private readonly folder: string,
    private readonly process: ChildProcess,
  ) {}

  /** Starts Verdaccio with its files in `folder`. */
  static async start(folder: string): Promise<LocalRegistry> {
    const upstream = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).trim()
    mkdirSync(folder, { recursive: true })
    const own = { access: '$all', publish: '$all' }
    const config = {
      storage: join(folder, 'storage'),
      uplinks: { upstream: { url: upstream, timeout: '120s', maxage: '60m' } },
      packages: { 'star-t2i': own, '@star-t2i/*': own, '**': { access: '$all', proxy: 'upstream' } },
      max_body_size: '500mb',
      web: { enable: false },
      log: { type: 'stdout', level: 'http' },
    }
    // JSON is YAML.
    writeFileSync(join(folder, 'config.yaml'), JSON.stringify(config))
    const child = spawn(
      process.execPath,
      [
        join(packageRoot, 'node_modules/verdaccio/bin/verdaccio'),
        '--config',
        join(folder, 'config.yaml'),
        '--listen',
        `127.0.0.1:${await freePort()}`,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], cwd: folder },
    )
    let output = ''
    const url = await new Promise<string>((resolve, reject) => {
      const read = (data: Buffer): void => {
        output += data.toString()
        const found = /http:\/\/127\.0\.0\.1:\d+/.exec(output)
        if (found) resolve(`${found[0]}/`)
      }
      child.stdout.on('data', read)
      child.stderr.on('data', read)
      child.on('exit', (code) => reject(new Error(`the registry ended with ${code}: ${output}`)))
    })
    // npm publishes nothing without a token; this registry takes any.
    writeFileSync(
      join(folder, 'npmrc'),
      `registry=${url}\n${url.replace('http:', '')}:_authToken=none\nupdate-notifier=false\nloglevel=error\n`,
    )
    return new LocalRegistry(url, folder, child)
  }

  /** npm with this registry, and a cache of its own. */
  async npm(args: readonly string[], cwd: string): Promise<{ stdout: string; stderr: string }> {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)))
    return run('npm', args, {
      cwd,
      env: { ...env, npm_config_userconfig: join(this.folder, 'npmrc'), npm_config_cache: join(this.folder, 'cache') },
      maxBuffer: 1 << 26,
    })
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.process.once('exit', resolve))
    this.process.kill()
    await ended
  }
}
