// Lanczos resize of RGB pictures on their way into a data set, the same to the last bit as the one of Pillow (the imaging
// library of the published data loader), so that training data does not depend on the program that read it.
#pragma once

#include <cstdint>

namespace star {

struct ResizeWindow {
  int left, top, width, height;
};

// `rgb`: rows of `row_pixels` pixels of three bytes. `out`: to_height rows of to_width pixels; mirrored left to right if asked.
// Windowed sinc of three lobes, widened by the scale when shrinking; columns first, rounded to 8 bits, then rows.
void resize_lanczos(const uint8_t* rgb, int row_pixels, const ResizeWindow& window, int to_width, int to_height, bool mirrored,
                    uint8_t* out);

}  // namespace star
