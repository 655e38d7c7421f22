/** A cgroup with a memory limit, as containers have one: version 1 or 2, whichever the machine has. Needs root. */
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = '/sys/fs/cgroup'
const versions = [
  { parent: join(root, 'memory'), limit: 'memory.limit_in_bytes' },
  { parent: root, limit: 'memory.max' },
]

export class MemoryGroup {
  private constructor(private readonly folder: string) {}

  /** @returns the group, or why this machine lets nobody make one */
  static create(name: string, bytes: number): MemoryGroup | string {
    for (const { parent, limit } of versions) {
      const folder = join(parent, name)
      try {
        mkdirSync(folder)
      } catch {
        continue
      }
      const group = new MemoryGroup(folder)
      if (existsSync(join(folder, limit))) {
        writeFileSync(join(folder, limit), String(bytes))
        return group
      }
      group.remove()
    }
    return `no cgroup with a memory limit can be made in ${root}: needs root, and the memory controller`
  }

  /** What the process takes from now on counts. */
  add(pid: number): void {
    writeFileSync(join(this.folder, 'cgroup.procs'), String(pid))
  }

  /** Once its processes have ended. */
  remove(): void {
    rmdirSync(this.folder)
  }
}
