#include "core/tensor.h"

#include "core/backend.h"
#include "core/error.h"

namespace star {

Storage::Storage(Backend& backend, size_t bytes) : backend(backend), data(backend.allocate(bytes)), bytes(bytes) {}

Storage::Storage(Backend& backend, void* data, size_t bytes, std::shared_ptr<MemoryOwner> owner)
    : backend(backend), data(data), bytes(bytes), owner_(std::move(owner)) {}

Storage::~Storage() {
  if (!owner_) backend.release(data, bytes);
}

Tensor Tensor::empty(Backend& backend, const Shape& shape, DType dtype) {
  int64_t bytes = 0;
  if (__builtin_mul_overflow(shape.count(), static_cast<int64_t>(dtype_size(dtype)), &bytes))
    fail(ErrorCode::Memory, "a tensor of shape %s is too large to address", shape.str().c_str());
  return {std::make_shared<Storage>(backend, static_cast<size_t>(bytes)), 0, shape, dtype};
}

Tensor Tensor::reshape(const Shape& to) const {
  if (to.count() != count())
    fail(ErrorCode::Shape, "reshape: %s holds %lld elements, %s %lld", shape.str().c_str(), static_cast<long long>(count()),
         to.str().c_str(), static_cast<long long>(to.count()));
  return {storage, offset, to, dtype};
}

Tensor Tensor::slice(int64_t begin, int64_t end) const {
  if (shape.rank() == 0 || begin < 0 || end < begin || end > shape[0])
    fail(ErrorCode::Shape, "slice: [%lld, %lld) does not lie in the first dimension of %s", static_cast<long long>(begin),
         static_cast<long long>(end), shape.str().c_str());
  Shape to{end - begin};
  for (int i = 1; i < shape.rank(); ++i) to.push_back(shape[i]);
  const size_t row = static_cast<size_t>(shape.count(1, shape.rank())) * dtype_size(dtype);
  return {storage, offset + static_cast<size_t>(begin) * row, to, dtype};
}

}  // namespace star
