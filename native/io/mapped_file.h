// A file mapped into memory: pages are read from the file when they are first touched, and a write goes to a private copy
// of the page, never to the file.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "core/tensor.h"

namespace star {

class MappedFile {
 public:
  static std::shared_ptr<MappedFile> open(const std::string& path);  // throws ERR_FILE
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  MappedFile(void* data, size_t size) : data_(data), size_(size) {}
  void* data_;
  size_t size_;
};

// All bytes of a file as a u8 tensor of `backend` (which must address host memory) on mapped storage.
Tensor map_file(Backend& backend, const std::string& path);

// The tensor of `shape` and `dtype` that starts `offset` bytes into `bytes`: it shares storage when its elements are aligned
// there and is a copy otherwise. Throws ERR_FILE when it does not lie inside.
Tensor tensor_at(const Tensor& bytes, size_t offset, const Shape& shape, DType dtype);

}  // namespace star
