/** Runs a shell script with a file system of a few pages mounted, in a mount namespace of its own: as full as disks get. */
import { spawnSync } from 'node:child_process'
import { tmpdir } from 'node:os'

const namespace = ['--map-root-user', '--mount', 'sh', '-c']

/** False, or why no file system can be mounted here: the `skip` of a test. */
export function smallDiskMissing(): false | string {
  const { status } = spawnSync('unshare', [...namespace, 'mount -t tmpfs -o size=4k none "$1"', 'sh', tmpdir()])
  return status === 0 ? false : 'this system does not let a test mount a file system'
}

/**
 * @param folder where the file system is mounted, for the script only
 * @param size as tmpfs takes it: `16k`
 * @param script for sh; `$1` is the folder, `$2`… are `args`
 */
export function withSmallDisk(
  folder: string,
  size: string,
  script: string,
  args: readonly string[],
): { code: number | null; stdout: string; stderr: string } {
  const mounted = `mount -t tmpfs -o size=${size} none "$1" || exit 99; ${script}`
  const { status, stdout, stderr } = spawnSync('unshare', [...namespace, mounted, 'sh', folder, ...args], {
    encoding: 'utf8',
  })
  return { code: status, stdout, stderr }
}
