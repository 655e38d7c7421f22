// Tensors of any shape and any part of a file: counts do not overflow, views lie inside of what they are views of.
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/allocator.h"
#include "core/error.h"
#include "core/shape.h"

namespace {

class Numbers {
 public:
  Numbers(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool next(int64_t* value) {
    if (size_ < sizeof *value) return false;
    std::memcpy(value, data_, sizeof *value);
    data_ += sizeof *value;
    size_ -= sizeof *value;
    return true;
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Numbers numbers(data, size);
  star::Shape shape;
  star::CachingAllocator allocator;
  std::vector<std::pair<void*, size_t>> blocks;
  try {
    for (int64_t value = 0; numbers.next(&value);) {
      shape.push_back(value);
      const int64_t count = shape.count();
      if (count < 0 || count > star::Shape::kMostElements) __builtin_trap();
      // Only what is small enough to be touched at once.
      const auto bytes = static_cast<size_t>(count % (1 << 20));
      blocks.emplace_back(allocator.allocate(bytes), bytes);
      std::memset(blocks.back().first, 1, bytes);
    }
  } catch (const star::Error&) {
  }
  for (const auto& [block, bytes] : blocks) allocator.release(block, bytes);
  if (allocator.stats().live_bytes != 0) __builtin_trap();
  return 0;
}
