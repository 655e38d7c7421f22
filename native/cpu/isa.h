// What the processor computes well, for the choice of types and algorithms.
#pragma once

namespace star {

// Whether products of bf16 are faster than of f32 copies: twice as fast by AMX, and by the pairwise products of AMD's AVX-512.
// Those of Intel's processors have no more throughput than f32; without AMX (virtual machines may hide it) oneDNN's products take
// 1.6 times as long as in f32, and a training step 1.2 times as long as with copies.
bool multiplies_bf16();

}  // namespace star
