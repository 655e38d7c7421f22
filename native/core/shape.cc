#include "core/shape.h"

#include <algorithm>

#include "core/error.h"

namespace star {

void Shape::push_back(int64_t dim) {
  if (dim < 0) fail(ErrorCode::Shape, "a dimension is %lld: expected 0 or more", static_cast<long long>(dim));
  if (rank_ == kMaxRank) fail(ErrorCode::Shape, "a shape has more than %d dimensions", kMaxRank);
  int64_t elements = std::max<int64_t>(1, dim);
  for (int i = 0; i < rank_; ++i)
    if (__builtin_mul_overflow(elements, std::max<int64_t>(1, dims_[i]), &elements)) elements = kMostElements + 1;
  dims_[rank_++] = dim;
  if (elements > kMostElements) fail(ErrorCode::Shape, "shape %s has too many elements", str().c_str());
}

int64_t Shape::count() const { return count(0, rank_); }

int64_t Shape::count(int begin, int end) const {
  int64_t n = 1;
  for (int i = begin; i < end; ++i) n *= dims_[i];
  return n;
}

std::string Shape::str() const {
  std::string text = "(";
  for (int i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string(dims_[i]);
  return text + ")";
}

bool Shape::operator==(const Shape& other) const {
  if (rank_ != other.rank_) return false;
  for (int i = 0; i < rank_; ++i)
    if (dims_[i] != other.dims_[i]) return false;
  return true;
}

}  // namespace star
