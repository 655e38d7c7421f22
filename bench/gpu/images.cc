// The tokenizer's ops on images: 3×3 convolution at full resolution with its gradients, and the three kinds of resampling with
// theirs.
#include "bench.h"

namespace star::bench {
namespace {

constexpr DType kType = DType::BF16;

void add_resample(Cases& cases, const Model& m, const char* name, Resample kind, int64_t from, int64_t to, int64_t c) {
  const int64_t n = m.samples;
  Fields fields;
  fields.add("n", n).add("h", from).add("w", from).add("c", c).add("oh", to).add("ow", to);
  cases.push_back(
      {std::string("resample ") + name + " " + m.name, std::string("resample_") + name, kType, fields,
       static_cast<double>(n * c * (from * from + to * to)) * size_of(kType), 0, [=](Arena& arena) -> std::function<void()> {
         const ResampleArgs a{
             arena.empty(n * to * to * c, kType), arena.values(n * from * from * c, kType), kind, n, from, from, c, to, to};
         return [a, &backend = arena.backend] { backend.resample(a); };
       }});
  cases.push_back(
      {std::string("resample ") + name + " backward " + m.name, std::string("resample_") + name + "_backward", kType, fields,
       static_cast<double>(n * c * (from * from + to * to)) * size_of(kType), 0, [=](Arena& arena) -> std::function<void()> {
         const ResampleBackwardArgs a{
             arena.empty(n * from * from * c, kType), arena.values(n * to * to * c, kType), kind, n, from, from, c, to, to};
         return [a, &backend = arena.backend] { backend.resample_backward(a); };
       }});
}

void add_conv(Cases& cases, const Model& m) {
  ConvShape s{};
  s.n = m.samples;
  s.h = s.w = s.oh = s.ow = m.image;
  s.c_in = s.c_out = m.channels;
  s.kh = s.kw = 3;
  s.stride = s.pad_top = s.pad_left = s.pad_bottom = s.pad_right = 1;
  const int64_t pixels = s.n * s.h * s.w * s.c_in, weights = s.c_out * s.c_in * 9;
  const double bytes = static_cast<double>(2 * pixels + weights) * size_of(kType);
  const double operations = 2.0 * static_cast<double>(s.n * s.h * s.w) * static_cast<double>(weights);
  Fields fields;
  fields.add("n", s.n).add("h", s.h).add("w", s.w).add("c_in", s.c_in).add("c_out", s.c_out).add("k", s.kh);
  cases.push_back({"conv2d " + m.name, "conv2d", kType, fields, bytes, operations, [=](Arena& arena) -> std::function<void()> {
                     const Conv2dArgs a{arena.empty(pixels, kType), arena.values(pixels, kType), arena.values(weights, kType),
                                        arena.values(s.c_out, kType), s};
                     return [a, &backend = arena.backend] { backend.conv2d(a); };
                   }});
  cases.push_back(
      {"conv2d data gradient " + m.name, "conv2d_data", kType, fields, bytes, operations,
       [=](Arena& arena) -> std::function<void()> {
         const Conv2dBackwardDataArgs a{arena.empty(pixels, kType), arena.values(pixels, kType), arena.values(weights, kType), s};
         return [a, &backend = arena.backend] { backend.conv2d_backward_data(a); };
       }});
  cases.push_back({"conv2d weight gradient " + m.name, "conv2d_weight", kType, fields, bytes, operations,
                   [=](Arena& arena) -> std::function<void()> {
                     const Conv2dBackwardWeightArgs a{
                         arena.empty(weights, kType), {}, arena.values(pixels, kType), arena.values(pixels, kType), s};
                     return [a, &backend = arena.backend] { backend.conv2d_backward_weight(a); };
                   }});
}

}  // namespace

void add_images(Cases& cases, const Model& m) {
  const int64_t side = m.sides.back(), before = m.sides[m.sides.size() - 2];
  add_resample(cases, m, "area", Resample::Area, side, before, m.latent);
  add_resample(cases, m, "bicubic", Resample::Bicubic, before, side, m.latent);
  add_resample(cases, m, "nearest", Resample::Nearest2x, m.image / 2, m.image, m.channels);
  add_conv(cases, m);
}

}  // namespace star::bench
