// Stand-in of cuda/device/ptx.cuh: the same functions, computed for the whole warp by its last lane. Fragments as in the PTX
// ISA 8.5, sections on mma.m16n8k16, ldmatrix and cp.async.
#pragma once

#include "cuda/device/kernel.cuh"
#include "simt/matrix.h"

namespace star {

inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4], f16,
                         simt::Site site = simt::Site::current()) {
  simt::MmaFragments fragments{a, b, c, d};
  simt::Block::current().warp(&simt::mma_f16, "mma_m16n8k16", &fragments, kFullWarp, site);
}
inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4], bf16,
                         simt::Site site = simt::Site::current()) {
  simt::MmaFragments fragments{a, b, c, d};
  simt::Block::current().warp(&simt::mma_bf16, "mma_m16n8k16", &fragments, kFullWarp, site);
}

inline void ldmatrix_x4(uint32_t (&r)[4], const void* row, simt::Site site = simt::Site::current()) {
  simt::ldmatrix<4, false>("ldmatrix_x4", r, row, site);
}
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row, simt::Site site = simt::Site::current()) {
  simt::ldmatrix<4, true>("ldmatrix_x4_trans", r, row, site);
}
inline void ldmatrix_x2(uint32_t (&r)[2], const void* row, simt::Site site = simt::Site::current()) {
  simt::ldmatrix<2, false>("ldmatrix_x2", r, row, site);
}
inline void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row, simt::Site site = simt::Site::current()) {
  simt::ldmatrix<2, true>("ldmatrix_x2_trans", r, row, site);
}

inline void cp_async_16(void* shared, const void* global, bool valid) {
  simt::Block::current().copy_async(shared, global, valid);
}
inline void cp_async_commit() { simt::Block::current().copy_commit(); }
template <int n>
void cp_async_wait() {
  simt::Block::current().copy_wait(n);
}

inline float exp2_approx(float x) {
  const float y = exp2f(x);
  return y < 0x1p-126f ? 0.0f : y;
}

}  // namespace star
