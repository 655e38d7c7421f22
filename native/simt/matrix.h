// The warp's matrix instructions: fragments of all lanes put together to matrices, multiplied, and taken apart again.
#pragma once

#include <cstdint>

#include "simt/block.h"

namespace star::simt {

// What one lane gives to mma.m16n8k16.
struct MmaFragments {
  const uint32_t* a;  // [4]
  const uint32_t* b;  // [2]
  const float* c;     // [4]
  float* d;           // [4]
};
void mma_f16(void* const* fragments, uint32_t mask);
void mma_bf16(void* const* fragments, uint32_t mask);

// What one lane gives to ldmatrix.
struct MatrixRow {
  const uint16_t* row;
  uint32_t* registers;
};
template <int matrices, bool transposed>
void load_matrices(void* const* arguments, uint32_t) {
  const auto lane_argument = [&](unsigned lane) { return static_cast<const MatrixRow*>(arguments[lane]); };
  for (unsigned m = 0; m < matrices; ++m) {
    const uint16_t* rows[8];
    for (unsigned i = 0; i < 8; ++i) {
      rows[i] = lane_argument(8 * m + i)->row;
      Block::current().check_shared(rows[i], 16, "ldmatrix");
    }
    for (unsigned l = 0; l < kLanes; ++l) {
      const unsigned row = l / 4, column = l % 4 * 2;
      const uint16_t low = transposed ? rows[column][row] : rows[row][column];
      const uint16_t high = transposed ? rows[column + 1][row] : rows[row][column + 1];
      lane_argument(l)->registers[m] = low | static_cast<uint32_t>(high) << 16;
    }
  }
}

template <int matrices, bool transposed>
void ldmatrix(const char* name, uint32_t* registers, const void* row, Site site) {
  MatrixRow argument{static_cast<const uint16_t*>(row), registers};
  Block::current().warp(&load_matrices<matrices, transposed>, name, &argument, ~0u, site);
}

}  // namespace star::simt
