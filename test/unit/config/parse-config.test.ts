import t from 'tap'
import { z } from 'zod'
import { editDistance, nearest } from '../../../lib/config/nearest.js'
import { parseConfig, parseConfigText } from '../../../lib/config/parse-config.js'
import { StarError } from '../../../lib/native/error.js'

const schema = z.strictObject({
  name: z.string(),
  batchSize: z.number().int().min(1).default(16),
  optimizer: z.strictObject({ learningRate: z.number().positive(), schedule: z.enum(['cos', 'lin']) }).optional(),
  data: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('pack'), files: z.array(z.string()) }),
    z.strictObject({ kind: z.literal('tar'), length: z.number() }),
  ]),
  scales: z.array(z.number().int()).optional(),
  size: z.union([z.number(), z.literal('auto')]).optional(),
})
const good = { name: 'a', data: { kind: 'pack', files: [] } }

function problem(json: unknown): string {
  try {
    parseConfig(schema, json, 'run.json')
  } catch (error) {
    if (error instanceof StarError && error.code === 'ERR_CONFIG') {
      if (error.message.includes('\n')) throw new Error('the message has more than one line', { cause: error })
      return error.message
    }
    throw error
  }
  throw new Error('no error was thrown')
}

t.test('edit distance and nearest word', async (t) => {
  t.equal(editDistance('', 'abc'), 3)
  t.equal(editDistance('kitten', 'sitting'), 3)
  t.equal(editDistance('batch', 'bacth'), 1)
  t.equal(nearest('batchsise', ['name', 'batchSize']), 'batchSize')
  t.equal(nearest('learning_rate', ['warmup', 'learningRate']), 'learningRate')
  t.equal(nearest('x', []), undefined)
})

t.test('a good configuration comes back with its defaults', async (t) => {
  t.match(parseConfig(schema, good, 'run.json'), { name: 'a', batchSize: 16 })
  t.match(parseConfigText(schema, JSON.stringify(good), 'run.json'), { name: 'a' })
})

t.test('unknown keys name the nearest known one', async (t) => {
  t.match(problem({ ...good, bachSize: 3 }), /^run\.json: unknown key "bachSize": did you mean "batchSize"\?/)
  t.match(
    problem({ ...good, optimizer: { learningRate: 1, shedule: 'cos', schedule: 'cos' } }),
    /"optimizer\.shedule": did you mean "schedule"/,
  )
  t.match(problem({ ...good, data: { kind: 'pack', files: [], lenght: 1 } }), /"data\.lenght": did you mean "length"/)
})

t.test('a known key in the wrong place is named with its place', async (t) => {
  t.match(problem({ ...good, learningRate: 1 }), /unknown key "learningRate": did you mean "optimizer\.learningRate"/)
})

t.test('wrong and missing values show what was given and expected', async (t) => {
  t.match(problem({ ...good, batchSize: 0 }), /"batchSize" is 0, expected/)
  t.match(problem({ ...good, batchSize: 'many' }), /"batchSize" is "many", expected number/)
  t.match(problem({ data: good.data }), /"name" is missing, expected string/)
  t.match(
    problem({ ...good, optimizer: { learningRate: 1, schedule: 'up' } }),
    /"optimizer\.schedule" is "up", expected one of "cos"\|"lin"/,
  )
  t.match(problem({ ...good, scales: [1, 'b'] }), /"scales\[1\]" is "b", expected number/)
  t.match(problem({ ...good, size: true }), /"size" is true, expected number or "auto"/)
  t.match(problem([]), /the configuration is \[\], expected object/)
  t.match(problem({ ...good, name: 5, batchSize: 0, scales: 1, size: true, optimizer: 1, data: 1 }), /; and 1 more\./)
})

t.test('text that is not JSON is refused with the place the engine names', async (t) => {
  const refused = { code: 'ERR_CONFIG', message: /^run\.json is not valid JSON.*expected a JSON object/ }
  t.throws(() => parseConfigText(schema, '{\n  "name": oops\n}', 'run.json'), refused)
  t.throws(() => parseConfigText(schema, '', 'run.json'), refused)
  t.throws(() => parseConfigText(schema, '{\n  "name": "a",\n}', 'run.json'), { message: /at line 3, column 1|JSON/ })
})
