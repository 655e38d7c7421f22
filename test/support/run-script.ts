/** Runs a script of scripts/ as a child process. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { packageRoot } from '../../lib/native/index.js'
import type { CommandResult } from './star-command.js'

export function runScript(name: string, args: readonly string[]): Promise<CommandResult> {
  const file = join(packageRoot, 'dist', 'scripts', `${name}.js`)
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [file, ...args], { env: { ...process.env, STAR_DEBUG: '' } })
    const result: CommandResult = { code: null, stdout: '', stderr: '' }
    child.stdout.on('data', (bytes) => {
      result.stdout += bytes
    })
    child.stderr.on('data', (bytes) => {
      result.stderr += bytes
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ ...result, code }))
  })
}
