// Storage (owned memory of one backend) and Tensor (a dense row-major view of it).
#pragma once

#include <memory>

#include "core/dtype.h"
#include "core/shape.h"

namespace star {

class Backend;

// Who owns memory that a storage only borrows, such as a mapped file.
class MemoryOwner {
 public:
  virtual ~MemoryOwner() = default;
  virtual void expect_intact() const = 0;  // throws when part of the memory was lost
};

// Memory of one backend, given back when the last tensor that shares it goes.
class Storage {
 public:
  Storage(Backend& backend, size_t bytes);  // throws ERR_MEMORY
  Storage(Backend& backend, void* data, size_t bytes, std::shared_ptr<MemoryOwner> owner);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void expect_intact() const {
    if (owner_) owner_->expect_intact();
  }

  Backend& backend;
  void* const data;
  const size_t bytes;

 private:
  std::shared_ptr<MemoryOwner> owner_;  // set when the memory is not the backend's
};

struct Tensor {
  std::shared_ptr<Storage> storage;
  size_t offset = 0;  // bytes
  Shape shape;
  DType dtype = DType::F32;

  static Tensor empty(Backend& backend, const Shape& shape, DType dtype);

  Backend& backend() const { return storage->backend; }
  void* data() const { return static_cast<char*>(storage->data) + offset; }
  int64_t count() const { return shape.count(); }
  size_t bytes() const { return static_cast<size_t>(count()) * dtype_size(dtype); }
  Ref ref() const { return {data(), dtype}; }

  Tensor reshape(const Shape& shape) const;        // shares storage; throws ERR_SHAPE when counts differ
  Tensor slice(int64_t begin, int64_t end) const;  // [begin, end) of the first dimension, shares storage
};

}  // namespace star
