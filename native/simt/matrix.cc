#include "simt/matrix.h"

#include "simt/float16.h"

namespace star::simt {

namespace {

template <float (*to_float)(uint16_t)>
void multiply(void* const* arguments) {
  uint16_t a_bits[16 * 16], b_bits[16 * 8];
  float a[16 * 16], b[16 * 8], d[16][8];
  const auto put = [](uint16_t* to, size_t step, uint32_t pair) {
    to[0] = static_cast<uint16_t>(pair);
    to[step] = static_cast<uint16_t>(pair >> 16);
  };
  for (unsigned l = 0; l < kLanes; ++l) {
    const auto& f = *static_cast<const MmaFragments*>(arguments[l]);
    const unsigned g = l / 4, t = l % 4 * 2;
    for (unsigned i = 0; i < 4; ++i) {
      put(&a_bits[(g + i % 2 * 8) * 16 + t + i / 2 * 8], 1, f.a[i]);
      d[g + i / 2 * 8][t + i % 2] = f.c[i];
    }
    for (unsigned i = 0; i < 2; ++i) put(&b_bits[(t + 8 * i) * 8 + g], 8, f.b[i]);
  }
  // In loops of their own, which become vector instructions.
  for (unsigned i = 0; i < 16 * 16; ++i) a[i] = to_float(a_bits[i]);
  for (unsigned i = 0; i < 16 * 8; ++i) b[i] = to_float(b_bits[i]);
  // Products of two 16-bit numbers are exact in float. The hardware adds them in an order of its own; here it is that of k.
  for (unsigned row = 0; row < 16; ++row)
    for (unsigned k = 0; k < 16; ++k)
      for (unsigned column = 0; column < 8; ++column) d[row][column] += a[row * 16 + k] * b[k * 8 + column];
  for (unsigned l = 0; l < kLanes; ++l) {
    const auto& f = *static_cast<const MmaFragments*>(arguments[l]);
    const unsigned g = l / 4, t = l % 4 * 2;
    for (unsigned i = 0; i < 4; ++i) f.d[i] = d[g + i / 2 * 8][t + i % 2];
  }
}

}  // namespace

void mma_f16(void* const* fragments, uint32_t) { multiply<f16_to_float>(fragments); }
void mma_bf16(void* const* fragments, uint32_t) { multiply<bf16_to_float>(fragments); }

}  // namespace star::simt
