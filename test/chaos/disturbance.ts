/** A page of memory shared with the processes that test/chaos/disturb.c is preloaded into. */
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../lib/native/index.js'

export const errors = { none: 0, diskFull: 28, readOnly: 30 } as const

/** Compiles the library to be preloaded. */
export function buildDisturb(folder: string): string {
  const library = join(folder, 'disturb.so')
  const source = join(packageRoot, 'test', 'chaos', 'disturb.c')
  execFileSync('gcc', ['-O1', '-shared', '-fPIC', '-o', library, source, '-ldl'])
  return library
}

export class Disturbance {
  readonly #page: number
  readonly env: Record<string, string>

  /** @param folder writes into it are disturbed */
  constructor(library: string, folder: string, file: string) {
    writeFileSync(file, new Uint8Array(16))
    this.#page = openSync(file, 'r+')
    this.env = { LD_PRELOAD: library, STAR_DISTURB: file, STAR_DISTURB_FOLDER: folder }
  }

  /** @param change errno of writes, microseconds before each of them, seconds by which the wall clock is wrong */
  set(change: { error?: number; delay?: number; clockShift?: number }): void {
    const page = Buffer.alloc(16)
    page.writeInt32LE(change.error ?? 0, 0)
    page.writeInt32LE(change.delay ?? 0, 4)
    page.writeBigInt64LE(BigInt(change.clockShift ?? 0), 8)
    writeSync(this.#page, page, 0, page.length, 0)
  }

  close(): void {
    closeSync(this.#page)
  }
}
