/** How the command line names a run configuration and what it changes in it. */
import t from 'tap'
import { commandLine, runArguments } from '../../../lib/cli/run-options.js'

t.test('file, flags and keys', async (t) => {
  const sorted = (rest: string[], options: { config?: string; set?: string[] } = {}) => {
    const { config, flags, set } = runArguments(rest, options)
    return { config, flags: Object.fromEntries(flags), set }
  }
  t.same(sorted(['a.json']), { config: 'a.json', flags: {}, set: [] })
  t.same(sorted(['a.json', '--bs', '8', '--tlr=1e-4']), { config: 'a.json', flags: { bs: '8', tlr: '1e-4' }, set: [] })
  t.same(sorted(['--ini', '-1', 'a.json']), { config: 'a.json', flags: { ini: '-1' }, set: [] })
  t.same(sorted(['--exp_name=', '--x=a=b'], { config: 'a.json' }).flags, { exp_name: '', x: 'a=b' })
  t.same(sorted([], { config: 'a.json', set: ['a.b=1', 'c=d=e'] }).set, [
    ['a.b', '1'],
    ['c', 'd=e'],
  ])
})

t.test('mistakes', async (t) => {
  const refused = (rest: string[], options: { config?: string; set?: string[] }, message: RegExp) =>
    t.throws(() => runArguments(rest, options), { code: 'ERR_ARGUMENT', message })
  refused([], {}, /^no configuration was given/)
  refused(['a', 'b'], {}, /^one configuration was expected, but there are a and b$/)
  refused(['b'], { config: 'a' }, /there are a and b$/)
  refused(['a', '--bs'], {}, /^--bs has no value: give it as --bs VALUE$/)
  refused(['a', '--bs', '--ep', '1'], {}, /^--bs has no value/)
  refused(['a', '-x'], {}, /^unknown option -x/)
  refused(['a'], { set: ['bs'] }, /^--set is "bs", expected KEY=VALUE/)
  refused(['a'], { set: ['=1'] }, /^--set is "=1", expected KEY=VALUE/)
})

t.test('a command line that a shell reads back', async (t) => {
  t.equal(commandLine(['star', 'train', 'a.json', '--tlr=1e-4']), 'star train a.json --tlr=1e-4')
  t.equal(commandLine(['my file', "it's", '']), `'my file' 'it'\\''s' ''`)
})
