/** Element types of tensors. */
export type DType = 'f32' | 'f16' | 'bf16' | 'i32' | 'u8'
