/** Rows by index, sums by index; the nearest row of a codebook. */
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

/**
 * y[r] = Σ x[i] over i with ids[i] = r, in the order of i.
 * @param x (N, cols)
 * @param ids i32 with N elements in [0, rows)
 * @returns (rows, cols)
 */
export function segmentSum(x: Tensor, ids: Tensor, rows: number): Tensor {
  const y = new Tensor(native.embeddingBackward(x.handle, ids.handle, rows))
  const { shape } = x
  record({
    name: 'segmentSum',
    inputs: [x],
    outputs: [y],
    save: [ids],
    backward: ([ids], [dy]) => [new Tensor(native.embedding(dy!.handle, ids.handle).reshape(shape))],
  })
  return y
}

/**
 * Index of the codebook row nearest to each vector in L2: argmin over v of ‖x‖² + ‖e_v‖² − 2·x·e_v, the lowest index on a tie.
 * Not differentiable: the tape ends here.
 * @param x (…, Z)
 * @param codebook (V, Z)
 * @returns ids i32 (…) and the squared distance (…) to the row found
 */
export function nearestRow(x: Tensor, codebook: Tensor): { ids: Tensor; distance: Tensor } {
  const [ids, distance] = native.nearestRow(x.handle, codebook.handle)
  return { ids: new Tensor(ids), distance: new Tensor(distance) }
}
