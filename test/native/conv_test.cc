// Convolutions and their gradients over odd sizes, strides and paddings, against sums in double.
#include <string>

#include "support.h"

namespace star::test {
namespace {

struct Case {
  int64_t n, h, w, c_in, c_out, kernel, stride;
  int64_t top = 0, left = 0, bottom = 0, right = 0;
  int64_t groups = 1;

  ConvShape shape() const {
    ConvShape s{};
    s.n = n, s.h = h, s.w = w, s.c_in = c_in, s.c_out = c_out, s.kh = s.kw = kernel, s.stride = stride;
    s.groups = groups, s.pad_top = top, s.pad_left = left, s.pad_bottom = bottom, s.pad_right = right;
    s.oh = (h + top + bottom - kernel) / stride + 1;
    s.ow = (w + left + right - kernel) / stride + 1;
    return s;
  }
  std::string name() const {
    std::string text;
    for (int64_t number : {n, h, w, c_in, c_out, kernel, stride, top, left, bottom, right, groups})
      text += std::to_string(number) + " ";
    return text;
  }
};

const std::vector<Case> kCases{
    {2, 5, 7, 3, 4, 3, 1, 1, 1, 1, 1},         // the first layer of an encoder
    {1, 8, 6, 16, 8, 3, 2, 0, 0, 1, 1},        // the published downsampling: padded below and on the right only
    {2, 7, 5, 5, 3, 3, 2, 0, 0, 1, 1},         // the same with odd sizes and channels
    {1, 6, 6, 8, 8, 3, 1, 2, 0, 1, 3},         // another padding on every side
    {1, 4, 5, 8, 8, 3, 1, 1, 1, 1, 1},         // vectors of whole pixels
    {3, 4, 3, 6, 10, 1, 1},                    // a matrix product
    {1, 5, 5, 4, 6, 1, 2},                     // one pixel of four
    {1, 3, 3, 2, 2, 1, 1, 1, 0, 0, 0},         // one pixel, padded
    {1, 9, 9, 1, 1, 3, 2, 1, 1, 1, 1},         // one channel
    {2, 3, 3, 33, 17, 3, 1, 1, 1, 1, 1},       // more channels than pixels
    {1, 3, 3, 7, 5, 3, 1},                     // one pixel left
    {1, 12, 10, 4, 4, 4, 4},                   // patches
    {2, 7, 5, 12, 12, 3, 1, 1, 1, 1, 1, 12},   // depthwise
    {1, 8, 10, 16, 16, 5, 2, 1, 1, 2, 2, 16},  // depthwise, padded as for an image whose side halves
    {2, 5, 6, 7, 7, 3, 2, 0, 0, 1, 1, 7},      // depthwise, an odd number of channels
    {1, 6, 7, 3, 9, 3, 1, 1, 1, 1, 1, 3},      // three outputs of each input
    {2, 6, 5, 12, 8, 3, 1, 1, 1, 1, 1, 4},     // groups of three inputs and two outputs
    {1, 4, 5, 6, 10, 1, 1, 0, 0, 0, 0, 2},     // pixels in groups
};

// Calls f(x index, weight index, y index) for every product of the convolution.
template <class F>
void each_product(const ConvShape& s, F&& f) {
  for (int64_t n = 0; n < s.n; ++n)
    for (int64_t i = 0; i < s.oh; ++i)
      for (int64_t j = 0; j < s.ow; ++j)
        for (int64_t o = 0; o < s.c_out; ++o)
          for (int64_t p = 0; p < s.kh; ++p)
            for (int64_t q = 0; q < s.kw; ++q) {
              const int64_t y = i * s.stride + p - s.pad_top, x = j * s.stride + q - s.pad_left;
              if (y < 0 || y >= s.h || x < 0 || x >= s.w) continue;
              const int64_t inputs = s.c_in / s.groups, first = o / (s.c_out / s.groups) * inputs;
              for (int64_t c = 0; c < inputs; ++c)
                f(static_cast<size_t>(((n * s.h + y) * s.w + x) * s.c_in + first + c),
                  static_cast<size_t>(((o * inputs + c) * s.kh + p) * s.kw + q),
                  static_cast<size_t>(((n * s.oh + i) * s.ow + j) * s.c_out + o));
            }
}

struct Data {
  ConvShape s;
  int64_t x_count, w_count, y_count;
  std::vector<float> x, w, bias, dy;
  Data(const ConvShape& shape, DType dtype)
      : s(shape),
        x_count(s.n * s.h * s.w * s.c_in),
        w_count(s.c_out * (s.c_in / s.groups) * s.kh * s.kw),
        y_count(s.n * s.oh * s.ow * s.c_out),
        x(rounded(random_values(x_count, 1), dtype)),
        w(rounded(random_values(w_count, 2), dtype)),
        bias(rounded(random_values(s.c_out, 3), dtype)),
        dy(rounded(random_values(y_count, 4), dtype)) {}
};

template <class Check>
void each_case(Check&& check) {
  for (const Case& t : kCases)
    for (DType dtype : kFloats) {
      SCOPED_TRACE(t.name() + dtype_name(dtype));
      check(Data(t.shape(), dtype), dtype);
    }
}

TEST(Conv2d, Forward) {
  each_case([](const Data& data, DType dtype) {
    for (bool with_bias : {false, true}) {
      const DeviceTensor x = upload(data.x, dtype), w = upload(data.w, dtype), bias = upload(data.bias, dtype),
                         y = empty(data.y_count, dtype);
      backend().conv2d({y, x, w, with_bias ? CRef(bias) : CRef{}, data.s});
      std::vector<double> expected(static_cast<size_t>(data.y_count));
      for (size_t i = 0; with_bias && i < expected.size(); ++i) expected[i] = data.bias[i % static_cast<size_t>(data.s.c_out)];
      each_product(data.s, [&](size_t xi, size_t wi, size_t yi) { expected[yi] += double{data.x[xi]} * data.w[wi]; });
      expect_close("conv2d", y.values(), expected, dtype);
    }
  });
}

TEST(Conv2d, BackwardData) {
  each_case([](const Data& data, DType dtype) {
    const DeviceTensor dy = upload(data.dy, dtype), w = upload(data.w, dtype), dx = empty(data.x_count, dtype);
    backend().conv2d_backward_data({dx, dy, w, data.s});
    std::vector<double> expected(static_cast<size_t>(data.x_count));
    each_product(data.s, [&](size_t xi, size_t wi, size_t yi) { expected[xi] += double{data.dy[yi]} * data.w[wi]; });
    expect_close("conv2d_backward_data", dx.values(), expected, dtype);
  });
}

TEST(Conv2d, BackwardWeight) {
  each_case([](const Data& data, DType dtype) {
    for (bool with_bias : {false, true}) {
      const DeviceTensor dy = upload(data.dy, dtype), x = upload(data.x, dtype), dw = empty(data.w_count, dtype),
                         dbias = empty(data.s.c_out, dtype);
      backend().conv2d_backward_weight({dw, with_bias ? dbias.ref() : Ref{}, dy, x, data.s});
      std::vector<double> expected(static_cast<size_t>(data.w_count)), sums(static_cast<size_t>(data.s.c_out));
      each_product(data.s, [&](size_t xi, size_t wi, size_t yi) { expected[wi] += double{data.dy[yi]} * data.x[xi]; });
      for (size_t i = 0; i < data.dy.size(); ++i) sums[i % sums.size()] += data.dy[i];
      expect_close("conv2d_backward_weight", dw.values(), expected, dtype);
      if (with_bias) expect_close("conv2d_backward_weight.dbias", dbias.values(), sums, dtype);
    }
  });
}

TEST(Conv2d, NoImages) {
  const ConvShape s = Case{0, 4, 4, 2, 3, 3, 1, 1, 1, 1, 1}.shape();
  const DeviceTensor nothing = empty(0), w = upload(random_values(3 * 2 * 9, 1)), dw = upload(random_values(3 * 2 * 9, 2)),
                     dbias = upload(random_values(3, 3));
  backend().conv2d({nothing, nothing, w, {}, s});
  backend().conv2d_backward_data({nothing, nothing, w, s});
  backend().conv2d_backward_weight({dw, dbias, nothing, nothing, s});
  EXPECT_EQ(dw.values(), std::vector<float>(3 * 2 * 9, 0.0f));
  EXPECT_EQ(dbias.values(), std::vector<float>(3, 0.0f));
}

TEST(Conv2d, TheSameBitsEveryTime) {
  const Data data(Case{2, 7, 6, 8, 5, 3, 2, 0, 0, 1, 1}.shape(), DType::F32);
  const DeviceTensor x = upload(data.x), w = upload(data.w), bias = upload(data.bias), dy = upload(data.dy),
                     y = empty(data.y_count), dx = empty(data.x_count), dw = empty(data.w_count), dbias = empty(data.s.c_out);
  std::vector<std::vector<uint8_t>> first;
  for (int i = 0; i < 4; ++i) {
    backend().conv2d({y, x, w, bias, data.s});
    backend().conv2d_backward_data({dx, dy, w, data.s});
    backend().conv2d_backward_weight({dw, dbias, dy, x, data.s});
    const std::vector<std::vector<uint8_t>> now{y.bytes(), dx.bytes(), dw.bytes(), dbias.bytes()};
    if (i == 0) first = now;
    EXPECT_EQ(now, first);
  }
}

TEST(Conv2d, NoMemoryIsLeftBehind) {
  const Data data(Case{2, 7, 6, 8, 5, 3, 2, 0, 0, 1, 1}.shape(), DType::F16);
  const DeviceTensor x = upload(data.x, DType::F16), w = upload(data.w, DType::F16), y = empty(data.y_count, DType::F16),
                     dx = empty(data.x_count, DType::F16), dw = empty(data.w_count, DType::F16);
  const auto before = backend().memory();
  backend().conv2d({y, x, w, {}, data.s});
  backend().conv2d_backward_data({dx, y, w, data.s});
  backend().conv2d_backward_weight({dw, {}, y, x, data.s});
  EXPECT_EQ(backend().memory().live_bytes, before.live_bytes);
  EXPECT_EQ(backend().memory().live_blocks, before.live_blocks);
}

}  // namespace
}  // namespace star::test
