/** Element types of tensors; i8 is for weights in 8 bits. */
export type DType = 'f32' | 'f16' | 'bf16' | 'i32' | 'u8' | 'i8'

/** Bytes of an element. */
export const elementBytes: Readonly<Record<DType, number>> = { f32: 4, f16: 2, bf16: 2, i32: 4, u8: 1, i8: 1 }
