// Permutations and block copies: results are exact.
#include <algorithm>
#include <array>
#include <numeric>

#include "support.h"

namespace star::test {
namespace {

// Bytes of y for any element size, one element at a time.
std::vector<uint8_t> permuted(const std::vector<uint8_t>& x, size_t element, const std::vector<int64_t>& dims,
                              const std::vector<int>& perm) {
  const size_t rank = dims.size();
  std::vector<int64_t> strides(rank, 1), index(rank, 0);
  for (size_t i = rank; i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  std::vector<uint8_t> y;
  const int64_t count = std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
  for (int64_t n = 0; n < count; ++n) {
    int64_t at = 0;
    for (size_t i = 0; i < rank; ++i) at += index[i] * strides[static_cast<size_t>(perm[i])];
    for (size_t b = 0; b < element; ++b) y.push_back(x[static_cast<size_t>(at) * element + b]);
    for (size_t i = rank; i-- > 0;) {
      if (++index[i] < dims[static_cast<size_t>(perm[i])]) break;
      index[i] = 0;
    }
  }
  return y;
}

DeviceTensor random_tensor(int64_t count, DType dtype, uint64_t seed) {
  const auto words = random_integers(count * static_cast<int64_t>(dtype_size(dtype)), seed, 0, 256);
  const std::vector<uint8_t> raw(words.begin(), words.end());
  DeviceTensor tensor(count, dtype);
  backend().copy_from_host(tensor.ref().data, raw.data(), raw.size());
  return tensor;
}

TEST(Permute, EveryOrderOfOddSizes) {
  const std::vector<std::vector<int64_t>> shapes{{1},         {37},      {40, 33},     {64, 64},     {3, 5, 7},
                                                 {2, 33, 40}, {5, 1, 8}, {2, 3, 4, 5}, {1, 4, 1, 9}, {2, 35, 3, 33}};
  for (const auto& dims : shapes) {
    std::vector<int> perm(dims.size());
    std::iota(perm.begin(), perm.end(), 0);
    do {
      for (DType dtype : {DType::F32, DType::F16, DType::U8}) {
        PermuteArgs args{};
        for (size_t i = 0; i < dims.size(); ++i) args.perm[i] = perm[i];
        for (int64_t dim : dims) args.dims.push_back(dim);
        const int64_t count = args.dims.count();
        const auto x = random_tensor(count, dtype, 1), y = empty(count, dtype);
        args.y = y;
        args.x = x;
        backend().permute(args);
        EXPECT_EQ(y.bytes(), permuted(x.bytes(), dtype_size(dtype), dims, perm))
            << args.dims.str() << " by " << ::testing::PrintToString(perm) << ", " << dtype_name(dtype);
      }
    } while (std::next_permutation(perm.begin(), perm.end()));
  }
}

TEST(CopyBlock, SlicesAndConcatenations) {
  // outer, inner, count, y_size, y_start, x_size, x_start
  const int64_t cases[][7] = {{1, 1, 1, 1, 0, 1, 0}, {1, 16, 5, 9, 2, 7, 1},    {4, 8, 3, 3, 0, 5, 2}, {3, 1, 7, 20, 13, 7, 0},
                              {5, 3, 4, 6, 1, 9, 5}, {2, 64, 10, 10, 0, 10, 0}, {3, 5, 0, 2, 0, 2, 0}, {130, 2, 9, 11, 1, 9, 0}};
  for (const auto& [outer, inner, count, y_size, y_start, x_size, x_start] : cases) {
    for (DType dtype : {DType::F32, DType::BF16, DType::U8}) {
      const auto x = random_tensor(outer * x_size * inner, dtype, 2), y = random_tensor(outer * y_size * inner, dtype, 3);
      auto expected = y.bytes();
      const auto source = x.bytes();
      const size_t unit = static_cast<size_t>(inner) * dtype_size(dtype);
      for (int64_t o = 0; o < outer; ++o)
        std::copy_n(source.begin() + static_cast<int64_t>(unit) * (o * x_size + x_start), static_cast<int64_t>(unit) * count,
                    expected.begin() + static_cast<int64_t>(unit) * (o * y_size + y_start));
      backend().copy_block({y, x, outer, inner, count, y_size, y_start, x_size, x_start});
      EXPECT_EQ(y.bytes(), expected) << outer << " rows of " << count << " x " << inner << ", " << dtype_name(dtype);
    }
  }
}

}  // namespace
}  // namespace star::test
