/** What a command answers to a mistake of its user. */
import type { Test } from 'tap'
import type { CommandResult } from './star-command.js'

export function refused(t: Test, { code, stdout, stderr }: CommandResult, message: RegExp): void {
  t.equal(code, 2, 'exit code')
  t.equal(stdout, '', 'standard output')
  t.match(stderr, /^error: [^\n]+\n$/, 'one line')
  t.match(stderr, message)
}
