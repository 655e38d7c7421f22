/** Rows by index and their gradient; the nearest row of a codebook. */
import { native } from '../../native/index.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

/**
 * y[i] = table[ids[i]].
 * @param table (rows, cols)
 * @param ids i32 of any shape
 * @returns (…ids, cols)
 * @throws ERR_ARGUMENT for an id outside the table
 */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  const y = new Tensor(native.embedding(table.handle, ids.handle))
  const rows = table.shape[0]
  record({
    name: 'embedding',
    inputs: [table],
    outputs: [y],
    save: [ids],
    backward: ([ids], [dy]) => [new Tensor(native.embeddingBackward(dy!.handle, ids.handle, rows))],
  })
  return y
}
