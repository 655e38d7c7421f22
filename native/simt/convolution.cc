#include "simt/convolution.h"

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "dnnl/describe.h"
#include "simt/audit.h"
#include "simt/memory.h"

namespace star::simt {

namespace {

using dnnl::memory;

int64_t count_of(const memory::dims& dims) { return dims[0] * dims[1] * dims[2] * dims[3]; }

float to_tf32(float x) {  // 10 bits of mantissa, to nearest even
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits = (bits + 0xfff + ((bits >> 13) & 1)) & ~uint32_t{0x1fff};
  std::memcpy(&x, &bits, 4);
  return x;
}

void check_range(const Convolution& g, int64_t count, const void* data) {
  if (!DeviceMemory::instance().contains(data, static_cast<size_t>(count) * element_size(g.type)))
    throw std::out_of_range("convolution: an operand is not in device memory");
}

// In the audit operands are looked for, and nothing is computed.
bool audited(const Convolution& g, const void* x, const void* w, const void* y) {
  if (!audit_enabled()) return false;
  check_range(g, count_of(g.x), x);
  check_range(g, count_of(g.w), w);
  check_range(g, count_of(g.y), y);
  return true;
}

// An operand as the multipliers see it.
std::vector<float> widen(const Convolution& g, const memory::dims& dims, const void* data) {
  check_range(g, count_of(dims), data);
  std::vector<float> wide(static_cast<size_t>(count_of(dims)));
  for (size_t i = 0; i < wide.size(); ++i) {
    wide[i] = load_element(data, g.type, i);
    if (g.tf32) wide[i] = to_tf32(wide[i]);
  }
  return wide;
}

void narrow(const Convolution& g, std::vector<float>& values, bool vary, void* to) {
  check_range(g, static_cast<int64_t>(values.size()), to);
  static unsigned calls = 0;
  if (vary) values[calls++ % values.size()] *= 1.0f + 1e-6f;  // sums that met in another order
  for (size_t i = 0; i < values.size(); ++i) store_element(to, g.type, i, values[i]);
  DeviceMemory::instance().mark_written(to, values.size() * element_size(g.type));
}

constexpr auto kF32 = memory::data_type::f32;
memory::desc images(const memory::dims& dims) { return {dims, kF32, memory::format_tag::nhwc}; }
memory::dims filter_dims(const Convolution& g) {
  if (g.groups == 1) return g.w;
  return {g.groups, g.w[0] / g.groups, g.w[1], g.w[2], g.w[3]};
}
memory::desc filters(const Convolution& g) {  // KRSC
  return {filter_dims(g), kF32, g.groups == 1 ? memory::format_tag::ohwi : memory::format_tag::gohwi};
}
memory::desc any_filters(const Convolution& g) { return {filter_dims(g), kF32, memory::format_tag::any}; }

void reorder(const memory& from, const memory& to) {
  dnnl::reorder(from, to).execute(dnnl_stream(), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
}

dnnl::convolution_forward::primitive_desc forward_desc(const Convolution& g) {
  return describe_primitive<dnnl::convolution_forward>(dnnl_engine(), {}, dnnl::prop_kind::forward_training,
                                                       dnnl::algorithm::convolution_direct, images(g.x), any_filters(g),
                                                       images(g.y), g.strides, g.pads, g.pads);
}

}  // namespace

void convolve(const Convolution& g, const void* x, const void* w, const void* bias, void* y) {
  if (bias) check_range(g, g.y[1], bias);
  if (audited(g, x, w, y)) return;
  const auto desc = forward_desc(g);
  const std::vector<float> x32 = widen(g, g.x, x), w32 = widen(g, g.w, w);
  std::vector<float> y32(static_cast<size_t>(count_of(g.y)));
  memory blocked(desc.weights_desc(), dnnl_engine());
  reorder(dnnl_view(filters(g), w32.data()), blocked);
  dnnl::convolution_forward(desc).execute(dnnl_stream(), {{DNNL_ARG_SRC, dnnl_view(images(g.x), x32.data())},
                                                          {DNNL_ARG_WEIGHTS, blocked},
                                                          {DNNL_ARG_DST, dnnl_view(images(g.y), y32.data())}});
  const auto channels = static_cast<size_t>(g.y[1]);
  for (size_t i = 0; bias && i < y32.size(); ++i) y32[i] += load_element(bias, g.type, i % channels);
  narrow(g, y32, false, y);
}

void convolve_backward_data(const Convolution& g, const void* w, const void* dy, bool vary, void* dx) {
  if (audited(g, dx, w, dy)) return;
  const auto desc =
      describe_backward<dnnl::convolution_backward_data>(dnnl_engine(), {}, forward_desc(g), dnnl::algorithm::convolution_direct,
                                                         images(g.x), any_filters(g), images(g.y), g.strides, g.pads, g.pads);
  const std::vector<float> dy32 = widen(g, g.y, dy), w32 = widen(g, g.w, w);
  std::vector<float> dx32(static_cast<size_t>(count_of(g.x)));
  memory blocked(desc.weights_desc(), dnnl_engine());
  reorder(dnnl_view(filters(g), w32.data()), blocked);
  dnnl::convolution_backward_data(desc).execute(dnnl_stream(), {{DNNL_ARG_DIFF_DST, dnnl_view(images(g.y), dy32.data())},
                                                                {DNNL_ARG_WEIGHTS, blocked},
                                                                {DNNL_ARG_DIFF_SRC, dnnl_view(images(g.x), dx32.data())}});
  narrow(g, dx32, vary, dx);
}

void convolve_backward_weight(const Convolution& g, const void* x, const void* dy, bool vary, void* dw) {
  if (audited(g, x, dw, dy)) return;
  const auto desc = describe_backward<dnnl::convolution_backward_weights>(dnnl_engine(), {}, forward_desc(g),
                                                                          dnnl::algorithm::convolution_direct, images(g.x),
                                                                          any_filters(g), images(g.y), g.strides, g.pads, g.pads);
  const std::vector<float> x32 = widen(g, g.x, x), dy32 = widen(g, g.y, dy);
  std::vector<float> dw32(static_cast<size_t>(count_of(g.w)));
  memory blocked(desc.diff_weights_desc(), dnnl_engine());
  dnnl::convolution_backward_weights(desc).execute(dnnl_stream(), {{DNNL_ARG_SRC, dnnl_view(images(g.x), x32.data())},
                                                                   {DNNL_ARG_DIFF_DST, dnnl_view(images(g.y), dy32.data())},
                                                                   {DNNL_ARG_DIFF_WEIGHTS, blocked}});
  reorder(blocked, dnnl_view(filters(g), dw32.data()));
  narrow(g, dw32, vary, dw);
}

}  // namespace star::simt
