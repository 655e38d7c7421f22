// Working memory of a thread that ops use while they run: it grows to the largest request and is kept, since fresh pages
// from the system cost more than the work on them.
#pragma once

#include <cstddef>

#include "core/error.h"
#include "system/pages.h"

namespace star {

class Scratch {
 public:
  ~Scratch() { free_aligned_block(data_); }
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // `count` floats whose content is undefined, aligned to 64 bytes; valid until the next call. Throws ERR_MEMORY.
  float* floats(const char* op, size_t count) {
    if (count > count_) {
      free_aligned_block(data_);
      data_ = nullptr;
      count_ = 0;
      const size_t bytes = (count * sizeof(float) + 63) / 64 * 64;
      data_ = static_cast<float*>(aligned_block(bytes));
      if (!data_) fail(ErrorCode::Memory, "%s: no memory for %zu bytes of working space", op, bytes);
      count_ = count;
    }
    return data_;
  }

 private:
  float* data_ = nullptr;
  size_t count_ = 0;
};

}  // namespace star
