/** Runs the command `star` as a child process. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { packageRoot } from '../../lib/native/index.js'

export interface CommandResult {
  code: number | null
  stdout: string
  stderr: string
}

export interface CommandOptions {
  cwd?: string
  env?: Record<string, string>
  stdin?: string
  /** Command and arguments that the call is put behind. */
  wrapper?: readonly string[]
  /** Called with the standard error so far whenever some comes; gets a function that sends a signal. */
  onOutput?: (text: string, kill: (signal: NodeJS.Signals) => void) => void
}

export const starFile = join(packageRoot, 'bin', 'star.js')

export function star(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [command, ...rest] = [...(options.wrapper ?? []), process.execPath, starFile, ...args]
  return new Promise((resolve, reject) => {
    const child = spawn(command, rest, { cwd: options.cwd, env: { ...process.env, STAR_DEBUG: '', ...options.env } })
    let stdout = ''
    let stderr = ''
    const seen = () => options.onOutput?.(stdout + stderr, (signal) => child.kill(signal))
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      seen()
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
      seen()
    })
    // A child that ends before it has read its input is no fault of the test.
    child.stdin.on('error', () => {})
    child.stdin.end(options.stdin ?? '')
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })
}
