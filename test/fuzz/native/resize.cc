// The Lanczos resize with any window and sizes that the binding lets through: reads and writes stay inside.
#include "io/resize.h"

#include <cstdint>
#include <cstring>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 15) return 0;
  uint16_t numbers[7];
  std::memcpy(numbers, data, sizeof numbers);
  const int width = 1 + numbers[0] % 300, height = 1 + numbers[1] % 300;
  const int left = numbers[2] % width, top = numbers[3] % height;
  const star::ResizeWindow window{left, top, 1 + numbers[4] % (width - left), 1 + numbers[5] % (height - top)};
  const int to_width = 1 + (numbers[6] & 255) * 2, to_height = 1 + (numbers[6] >> 8) * 2;
  std::vector<uint8_t> picture(static_cast<size_t>(width) * height * 3), out(static_cast<size_t>(to_width) * to_height * 3);
  for (size_t i = 0; i < picture.size(); ++i) picture[i] = data[14 + i % (size - 14)];
  star::resize_lanczos(picture.data(), width, window, to_width, to_height, data[size - 1] & 1, out.data());
  return 0;
}
