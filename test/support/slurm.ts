/** A Slurm of this machine alone, for a test: its daemons with a configuration, a key and ports of their own. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort, type Owner } from './ranks.js'

const daemons = ['munged', 'slurmctld', 'slurmd', 'srun', 'sinfo']

/** False, or why no Slurm can be started here: the `skip` of a test. */
export function slurmMissing(): false | string {
  const missing = daemons.filter((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0)
  if (missing.length > 0) return `${missing.join(', ')}: not installed (scripts/launchers installs it)`
  return process.getuid?.() === 0 ? false : 'slurmd needs root'
}

/**
 * Starts the daemons and waits until the node takes jobs; the owner's end is theirs.
 * @returns the variables by which srun finds them
 */
export async function startSlurm(owner: Owner): Promise<Record<string, string>> {
  // Not in the test's folder: a socket's path has a limit of about 100 bytes, and munged wants no stranger above its files.
  const folder = mkdtempSync(join(tmpdir(), 'star-slurm-'))
  const file = (name: string): string => join(folder, name)
  const started: ChildProcess[] = []
  owner.teardown(async () => {
    for (const child of started.reverse()) {
      const ended = child.exitCode ?? child.signalCode ?? new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGTERM')
      await ended
    }
    rmSync(folder, { recursive: true, force: true })
  })

  const socket = file('munge.socket')
  writeFileSync(file('munge.key'), crypto.getRandomValues(new Uint8Array(128)), { mode: 0o400 })
  const node = hostname().split('.')[0]
  for (const name of ['state', 'spool']) mkdirSync(file(name))
  const [controlPort, nodePort] = [await freePort(), await freePort()]
  writeFileSync(
    file('slurm.conf'),
    [
      'ClusterName=star',
      `SlurmctldHost=${node}(127.0.0.1)`,
      `SlurmctldPort=${controlPort}`,
      `SlurmdPort=${nodePort}`,
      'SlurmUser=root',
      'AuthType=auth/munge',
      `AuthInfo=socket=${socket}`,
      'CredType=cred/munge',
      `StateSaveLocation=${file('state')}`,
      `SlurmdSpoolDir=${file('spool')}`,
      `SlurmctldPidFile=${file('slurmctld.pid')}`,
      `SlurmdPidFile=${file('slurmd.pid')}`,
      'ProctrackType=proctrack/linuxproc',
      'TaskPlugin=task/none',
      'JobAcctGatherType=jobacct_gather/none',
      'MpiDefault=none',
      `NodeName=${node} NodeAddr=127.0.0.1 CPUs=${availableParallelism()} State=UNKNOWN`,
      `PartitionName=all Nodes=${node} Default=YES State=UP`,
      '',
    ].join('\n'),
  )
  // Nothing here needs control groups; Slurm can be told so from 23 on, and before that v1 does nothing unless it is used.
  const [, major] = /slurm (\d+)/.exec(spawnSync('slurmd', ['-V'], { encoding: 'utf8' }).stdout) ?? []
  writeFileSync(file('cgroup.conf'), `CgroupPlugin=${Number(major) >= 23 ? 'disabled' : 'cgroup/v1'}\n`)
  chmodSync(folder, 0o755)

  const env = { SLURM_CONF: file('slurm.conf') }
  const logs: string[] = []
  const start = (program: string, args: readonly string[]): void => {
    const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => logs.push(text))
    started.push(child)
  }
  start('munged', [
    ...['--foreground', '--force', '--num-threads=2', `--key-file=${file('munge.key')}`, `--socket=${socket}`],
    ...[`--pid-file=${file('munge.pid')}`, `--log-file=${file('munge.log')}`, `--seed-file=${file('munge.seed')}`],
  ])
  const until = Date.now() + 60_000
  while (!existsSync(socket) && Date.now() < until) await delay(50)
  start('slurmctld', ['-D', '-c'])
  start('slurmd', ['-D', '-N', node])

  for (;;) {
    const { stdout } = spawnSync('sinfo', ['--noheader', '--format=%T'], {
      env: { ...process.env, ...env },
      encoding: 'utf8',
      timeout: 10_000,
    })
    if (stdout.trim() === 'idle') return env
    if (Date.now() > until) throw new Error(`Slurm did not start: ${stdout}\n${logs.join('')}`)
    await delay(200)
  }
}
