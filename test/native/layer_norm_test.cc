// Layer normalisation: affine maps and modulations, short and long rows, and the gradients.
#include <cmath>

#include "core/error.h"
#include "support.h"

namespace star::test {
namespace {

class LayerNorm : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(AllFloats, LayerNorm, ::testing::ValuesIn(kFloats),
                         [](const auto& info) { return dtype_name(info.param); });

struct Case {
  int64_t rows, cols, mod_rows;
};

// Rows held by a warp and by a block, odd and long ones, rows of scale for one, some and all rows.
const Case kCases[] = {{1, 1, 1},    {3, 5, 1},    {4, 7, 2},    {6, 64, 3},   {12, 256, 12}, {9, 257, 3},  {5, 384, 5},
                       {4, 520, 2},  {3, 1000, 1}, {4, 1024, 2}, {2, 1920, 1}, {3, 2051, 3},  {1, 4096, 1}, {2, 5000, 1},
                       {1, 8191, 1}, {2, 8208, 2}, {1, 9001, 1}, {0, 16, 1},   {41, 24, 1},   {26, 33, 2}};

struct Reference {
  std::vector<double> y, mean, rstd, dx, dscale, dshift;
};

// With scale and shift (mod_rows, cols), either may be empty; dy may be empty.
Reference reference(const Case& c, const std::vector<float>& x, const std::vector<float>& scale, const std::vector<float>& shift,
                    const std::vector<float>& dy, bool affine, double eps) {
  Reference r;
  r.y.resize(x.size());
  r.dx.resize(x.size());
  r.dscale.assign(static_cast<size_t>(c.mod_rows * c.cols), 0.0);
  r.dshift = r.dscale;
  for (int64_t row = 0; row < c.rows; ++row) {
    const auto at = [&](int64_t k) { return static_cast<size_t>(row * c.cols + k); };
    const auto mod = [&](int64_t k) { return static_cast<size_t>(row % c.mod_rows * c.cols + k); };
    double mean = 0, variance = 0;
    for (int64_t k = 0; k < c.cols; ++k) mean += x[at(k)];
    mean /= static_cast<double>(c.cols);
    for (int64_t k = 0; k < c.cols; ++k) variance += (x[at(k)] - mean) * (x[at(k)] - mean);
    const double rstd = 1.0 / std::sqrt(variance / static_cast<double>(c.cols) + eps);
    r.mean.push_back(mean);
    r.rstd.push_back(rstd);
    const auto factor = [&](int64_t k) { return scale.empty() ? 1.0 : scale[mod(k)] + (affine ? 0.0 : 1.0); };
    double along = 0, across = 0;
    for (int64_t k = 0; k < c.cols; ++k) {
      const double n = (x[at(k)] - mean) * rstd;
      r.y[at(k)] = n * factor(k) + (shift.empty() ? 0.0 : shift[mod(k)]);
      if (dy.empty()) continue;
      r.dscale[mod(k)] += dy[at(k)] * n;
      r.dshift[mod(k)] += dy[at(k)];
      along += dy[at(k)] * factor(k) / static_cast<double>(c.cols);
      across += dy[at(k)] * factor(k) * n / static_cast<double>(c.cols);
    }
    for (int64_t k = 0; k < c.cols && !dy.empty(); ++k)
      r.dx[at(k)] = rstd * (dy[at(k)] * factor(k) - along - (x[at(k)] - mean) * rstd * across);
  }
  return r;
}

std::vector<float> floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

TEST_P(LayerNorm, EveryKindOfScaleAndShift) {
  const DType dtype = GetParam();
  for (const Case& c : kCases) {
    const auto x = rounded(random_values(c.rows * c.cols, 1, -2.0f, 3.0f), dtype);
    const auto scale = rounded(random_values(c.mod_rows * c.cols, 2), dtype);
    const auto shift = rounded(random_values(c.mod_rows * c.cols, 3), dtype);
    const auto dx = upload(x, dtype), dscale = upload(scale, dtype), dshift = upload(shift, dtype);
    for (int kind = 0; kind < 8; ++kind) {  // with scale, with shift, affine
      const bool with_scale = kind & 1, with_shift = kind & 2, affine = kind & 4;
      if (c.cols > 600 && kind != 3) continue;
      SCOPED_TRACE(::testing::Message() << c.rows << " x " << c.cols << ", modulation rows " << c.mod_rows << ", kind " << kind);
      const auto y = empty(c.rows * c.cols, dtype), mean = empty(c.rows), rstd = empty(c.rows);
      backend().layer_norm({y, mean, rstd, dx, with_scale ? CRef(dscale) : CRef{}, with_shift ? CRef(dshift) : CRef{}, c.rows,
                            c.cols, c.mod_rows, affine, 1e-5f});
      const Reference r =
          reference(c, x, with_scale ? scale : std::vector<float>{}, with_shift ? shift : std::vector<float>{}, {}, affine, 1e-5);
      expect_close("layer_norm.mean", mean.values(), r.mean, DType::F32);
      expect_close("layer_norm.rstd", rstd.values(), r.rstd, DType::F32);
      expect_close("layer_norm", y.values(), r.y, dtype);
    }
  }
}

TEST_P(LayerNorm, Gradients) {
  const DType dtype = GetParam();
  std::vector<Case> cases(std::begin(kCases), std::end(kCases));
  cases.push_back({4200, 8, 1});  // sums in three passes
  for (const Case& c : cases) {
    const auto x = rounded(random_values(c.rows * c.cols, 4, -2.0f, 3.0f), dtype);
    const auto dy = rounded(random_values(c.rows * c.cols, 5), dtype);
    const auto scale = rounded(random_values(c.mod_rows * c.cols, 6), dtype);
    const auto device_x = upload(x, dtype), device_dy = upload(dy, dtype), device_scale = upload(scale, dtype);
    for (int kind = 0; kind < 3; ++kind) {  // no scale, modulation, affine
      if (c.cols > 600 && kind != 1) continue;
      SCOPED_TRACE(::testing::Message() << c.rows << " x " << c.cols << ", modulation rows " << c.mod_rows << ", kind " << kind);
      const bool affine = kind == 2;
      const Reference r = reference(c, x, kind == 0 ? std::vector<float>{} : scale, {}, dy, affine, 1e-6);
      const auto mean = upload(floats(r.mean)), rstd = upload(floats(r.rstd));
      const auto dx = empty(c.rows * c.cols, dtype);
      const auto dscale = empty(c.mod_rows * c.cols, dtype), dshift = empty(c.mod_rows * c.cols, dtype);
      backend().layer_norm_backward({dx, kind == 0 ? Ref{} : dscale.ref(), dshift, device_dy, device_x, mean, rstd,
                                     kind == 0 ? CRef{} : CRef(device_scale), c.rows, c.cols, c.mod_rows, affine});
      expect_close(c.cols < 8 ? "layer_norm_backward.dx, short rows" : "layer_norm_backward.dx", dx.values(), r.dx, dtype);
      if (kind != 0) expect_close("layer_norm_backward.dscale", dscale.values(), r.dscale, dtype);
      expect_close("layer_norm_backward.dshift", dshift.values(), r.dshift, dtype);
    }
  }
}

TEST_P(LayerNorm, GradientsOneAtATime) {
  const DType dtype = GetParam();
  for (const Case& c : {Case{12, 40, 3}, Case{40, 9, 1}, Case{3, 9000, 1}}) {
    const auto x = rounded(random_values(c.rows * c.cols, 7), dtype), dy = rounded(random_values(c.rows * c.cols, 8), dtype);
    const auto scale = rounded(random_values(c.mod_rows * c.cols, 9), dtype);
    const Reference r = reference(c, x, scale, {}, dy, false, 1e-6);
    const auto device_x = upload(x, dtype), device_dy = upload(dy, dtype), device_scale = upload(scale, dtype);
    const auto mean = upload(floats(r.mean)), rstd = upload(floats(r.rstd));
    const std::vector<double>* wanted[] = {&r.dx, &r.dscale, &r.dshift};
    const char* const rows[] = {"layer_norm_backward.dx", "layer_norm_backward.dscale", "layer_norm_backward.dshift"};
    for (int which = 0; which < 3; ++which) {
      SCOPED_TRACE(::testing::Message() << c.rows << " x " << c.cols << ", gradient " << which);
      const auto out = empty(static_cast<int64_t>(wanted[which]->size()), dtype);
      const Ref none, given = out;
      backend().layer_norm_backward({which == 0 ? given : none, which == 1 ? given : none, which == 2 ? given : none, device_dy,
                                     device_x, mean, rstd, device_scale, c.rows, c.cols, c.mod_rows, false});
      expect_close(rows[which], out.values(), *wanted[which], dtype);
    }
  }
}

TEST_P(LayerNorm, AddressesThatAreNotMultiplesOf16) {
  const DType dtype = GetParam();
  const Case c{3, 64, 1};
  const auto x = rounded(random_values(c.rows * c.cols + 1, 10), dtype);
  const auto device_x = upload(x, dtype), y = empty(c.rows * c.cols, dtype), mean = empty(c.rows), rstd = empty(c.rows);
  backend().layer_norm({y,
                        mean,
                        rstd,
                        {static_cast<char*>(device_x.ref().data) + dtype_size(dtype), dtype},
                        {},
                        {},
                        c.rows,
                        c.cols,
                        1,
                        false,
                        1e-6f});
  expect_close("layer_norm", y.values(), reference(c, {x.begin() + 1, x.end()}, {}, {}, {}, false, 1e-6).y, dtype);
}

TEST(LayerNormValues, ConstantRowsAreZeroAndFarFromZeroIsExact) {
  const int64_t cols = 300;
  std::vector<float> x(static_cast<size_t>(cols), 3.5f);
  const auto far = random_values(cols, 11, 9999.0f, 10001.0f);
  x.insert(x.end(), far.begin(), far.end());
  const auto device_x = upload(x), y = empty(2 * cols), mean = empty(2), rstd = empty(2);
  backend().layer_norm({y, mean, rstd, device_x, {}, {}, 2, cols, 1, false, 1e-6f});
  const Reference r = reference({2, cols, 1}, x, {}, {}, {}, false, 1e-6);
  const auto given = y.values();
  for (size_t i = 0; i < static_cast<size_t>(cols); ++i) ASSERT_EQ(given[i], 0.0f);
  expect_close("normalised, far from zero", given, r.y, DType::F32);
  expect_close("layer_norm.rstd", rstd.values(), r.rstd, DType::F32);
}

TEST(LayerNormValues, RefusesOtherTypes) {
  const auto x = upload(random_values(8, 12)), y = empty(8, DType::F16), mean = empty(1), rstd = empty(1);
  EXPECT_THROW(backend().layer_norm({y, mean, rstd, x, {}, {}, 1, 8, 1, false, 1e-6f}), Error);
}

}  // namespace
}  // namespace star::test
