import type { Tensor } from '../tensor.js'
export declare function mulSum(a: Tensor, b: Tensor): Tensor
