// Gradients of convolutions where cuDNN refuses its deterministic algorithms: they become products over patches, those of grouped
// convolutions sums, and come out as the library's do. Shapes are those of no other test, because what was found out about a
// shape is kept.
#include <cstdlib>

#include "support.h"

namespace star::test {
namespace {

// What cuDNN's stand-in refuses, for the length of a block of code.
class Refusal {
 public:
  explicit Refusal(const char* what) { setenv("STAR_SIMT_CUDNN", what, 1); }
  ~Refusal() { unsetenv("STAR_SIMT_CUDNN"); }
};

ConvShape shape(int64_t n, int64_t h, int64_t w, int64_t c_in, int64_t c_out, int64_t stride, int64_t groups = 1) {
  ConvShape s{};
  s.groups = groups, s.n = n, s.h = h, s.w = w, s.c_in = c_in, s.c_out = c_out, s.kh = s.kw = 3, s.stride = stride;
  s.pad_top = stride == 1, s.pad_left = stride == 1, s.pad_bottom = s.pad_right = 1;
  s.oh = (h + s.pad_top + s.pad_bottom - 3) / stride + 1, s.ow = (w + s.pad_left + s.pad_right - 3) / stride + 1;
  return s;
}

// The gradients of n images while cuDNN refuses, beside those of n + 1 images, the last with dy = 0, while it does not.
void check(const char* refused, ConvShape s, DType dtype, const char* weight_row = "conv2d_backward_weight") {
  SCOPED_TRACE(::testing::Message() << refused << ", " << s.n << " images of " << s.h << " x " << s.w << ", stride " << s.stride
                                    << ", " << s.groups << " groups, " << dtype_name(dtype));
  const int64_t x_count = s.n * s.h * s.w * s.c_in, y_count = s.n * s.oh * s.ow * s.c_out,
                w_count = s.c_out * (s.c_in / s.groups) * 9;
  const auto extended = [](std::vector<float> values, int64_t n) {
    values.resize(values.size() + values.size() / static_cast<size_t>(n), 0.0f);
    return values;
  };
  const auto x = rounded(random_values(x_count, 1), dtype), dy = rounded(random_values(y_count, 2), dtype);
  const DeviceTensor w = upload(random_values(w_count, 3), dtype), dx = empty(x_count, dtype), dw = empty(w_count, dtype);
  const DeviceTensor given_x = upload(x, dtype), given_dy = upload(dy, dtype);
  std::vector<uint8_t> first;
  {
    const Refusal refusal(refused);
    for (int i = 0; i < 2; ++i) {
      backend().conv2d_backward_data({dx, given_dy, w, s});
      backend().conv2d_backward_weight({dw, {}, given_dy, given_x, s});
      const auto bytes = dw.bytes();
      if (i == 0) first = bytes;
      EXPECT_EQ(bytes, first) << "the same bits every time";
    }
  }
  ConvShape more = s;
  more.n += 1;
  const DeviceTensor all_x = upload(extended(x, s.n), dtype), all_dy = upload(extended(dy, s.n), dtype);
  const DeviceTensor all_dx = empty(all_x.count, dtype), all_dw = empty(w_count, dtype);
  backend().conv2d_backward_data({all_dx, all_dy, w, more});
  backend().conv2d_backward_weight({all_dw, {}, all_dy, all_x, more});
  const auto wanted = all_dx.values(), weights = all_dw.values();
  expect_close("conv2d_backward_data", dx.values(), {wanted.begin(), wanted.begin() + x_count}, dtype);
  expect_close(weight_row, dw.values(), {weights.begin(), weights.end()}, dtype);
}

TEST(SimtConvolution, GradientsThatCudnnDoesNotOffer) {
  for (DType dtype : kFloats) {
    check("heuristic", shape(2, 9, 11, 5, 6, 1), dtype);
    check("heuristic", shape(3, 10, 7, 4, 8, 2), dtype);
    check("heuristic", shape(2, 13, 11, 6, 6, 1, 6), dtype);
    check("heuristic", shape(2, 9, 12, 6, 4, 2, 2), dtype);
  }
}

TEST(SimtConvolution, GradientsThatCudnnOffersAndRefuses) {
  for (DType dtype : kFloats) {
    check("call", shape(2, 11, 9, 5, 6, 1), dtype);
    check("call", shape(3, 7, 10, 4, 8, 2), dtype);
    check("call", shape(2, 11, 13, 6, 6, 2, 6), dtype);
    check("call", shape(2, 12, 9, 4, 6, 1, 2), dtype);
  }
}

// Patches of all images would take more memory than they may: two images at a time, then one.
TEST(SimtConvolution, ImagesInGroups) {
  check("heuristic", shape(3, 200, 180, 6, 2, 1), DType::F32, "conv2d_backward_weight, long sums");
}

}  // namespace
}  // namespace star::test
