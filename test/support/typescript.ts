/** The TypeScript compiler, as a user starts it. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { packageRoot } from '../../lib/native/index.js'

const run = promisify(execFile)

/** Compiles the project of a folder; rejects, with what was found in `stdout`, where that has mistakes. */
export async function compileProject(folder: string): Promise<void> {
  // The test runner puts a loader into all child processes, whatever their environment, which cannot load the compiler.
  const program = 'unset NODE_OPTIONS && exec "$0" "$@"'
  await run('bash', ['-c', program, join(packageRoot, 'node_modules', '.bin', 'tsc'), '-p', folder], { cwd: folder })
}
