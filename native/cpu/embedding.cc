// Rows of a table by index, and the sum of row gradients.
#include <cstring>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/widen.h"

namespace star {

namespace {

void check_ids(const char* op, const int32_t* ids, int64_t count, int64_t rows) {
  for (int64_t i = 0; i < count; ++i)
    if (ids[i] < 0 || ids[i] >= rows)
      fail(ErrorCode::Argument, "%s: index %d at position %lld lies outside the table of %lld rows", op, ids[i],
           static_cast<long long>(i), static_cast<long long>(rows));
}

}  // namespace

void CpuBackend::embedding(const EmbeddingArgs& a) {
  const int32_t* ids = a.ids.i32();
  check_ids("embedding", ids, a.count, a.rows);
  const size_t row = static_cast<size_t>(a.cols) * dtype_size(a.table.dtype);
  parallel_for(a.count, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, a.cols)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      std::memcpy(static_cast<char*>(a.y.data) + i * row, static_cast<const char*>(a.table.data) + ids[i] * row, row);
  });
}

void CpuBackend::embedding_backward(const EmbeddingBackwardArgs& a) {
  if (is_half(a.dy.dtype)) return widened(*this, "embedding_backward", a.dy.dtype, a, &CpuBackend::embedding_backward);
  float* dtable = a.dtable.f32();
  const float* dy = a.dy.f32();
  const int32_t* ids = a.ids.i32();
  check_ids("embedding_backward", ids, a.count, a.rows);  // again: ids may have been overwritten since the forward pass
  // Columns are split over threads, so that every row is summed in the order of i whatever the thread count.
  parallel_for(a.cols, 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = 0; r < a.rows; ++r)
      std::memset(dtable + r * a.cols + begin, 0, static_cast<size_t>(end - begin) * sizeof(float));
    for (int64_t i = 0; i < a.count; ++i)
      for (int64_t c = begin; c < end; ++c) dtable[ids[i] * a.cols + c] += dy[i * a.cols + c];
  });
}

}  // namespace star
