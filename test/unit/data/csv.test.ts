import t from 'tap'
import { csvRows } from '../../../lib/data/csv.js'

t.test('rows of comma-separated values', async (t) => {
  const cases: [string, string[][]][] = [
    ['', []],
    ['a', [['a']]],
    [
      'a,b\nc,d\n',
      [
        ['a', 'b'],
        ['c', 'd'],
      ],
    ],
    [
      'a,b\r\n\r\nc,\r\n',
      [
        ['a', 'b'],
        ['c', ''],
      ],
    ],
    [',', [['', '']]],
    ['"a,""b""\nc",d', [['a,"b"\nc', 'd']]],
    ['"",x', [['', 'x']]],
    ['héllo,"ü"', [['héllo', 'ü']]],
    [' a ,b c', [[' a ', 'b c']]],
  ]
  for (const [text, rows] of cases) t.same([...csvRows(text)], rows, JSON.stringify(text))
  t.throws(() => [...csvRows('a,"b')], { code: 'ERR_FILE', message: /does not end/ })
})
