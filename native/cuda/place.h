// Padding and cropping of images, for what convolutions of a library cannot describe.
#pragma once

#include "cuda/cuda_backend.h"

namespace star {

// Images (n, in_h, in_w, c) with their corner at (top, left) of images (n, out_h, out_w, c), zero around them; a negative corner
// cuts. f32, f16 or bf16.
struct PlaceArgs {
  Ref out;
  CRef in;  // the same dtype
  int64_t n, out_h, out_w, in_h, in_w, c, top, left;
};
void place_images(CudaBackend& backend, const char* op, const PlaceArgs& args);

}  // namespace star
