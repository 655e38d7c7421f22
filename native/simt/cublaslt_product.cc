// The products of the stand-in of cuBLASLt: by oneDNN in f32, bytes by whole numbers, with their epilogues.
#include "simt/cublaslt_product.h"

#include <cmath>
#include <new>
#include <vector>

#include "dnnl/describe.h"
#include "simt/audit.h"
#include "simt/memory.h"

namespace star::simt {

namespace {

size_t extent(const cublasLtMatrixLayoutOpaque_t& m, Element type) {  // bytes from the first element to the last
  const int64_t last = (m.batch - 1) * m.batch_stride + m.ld * (static_cast<int64_t>(m.cols) - 1) + static_cast<int64_t>(m.rows);
  return static_cast<size_t>(last) * element_size(type);
}

// The product alone, (cols, rows) by rows in `to`: the transpose of D by columns.
void multiply(const Problem& p, const void* a, const void* b, float* to) {
  using dnnl::memory;
  const auto f32 = memory::data_type::f32;
  const int64_t batch = p.d.batch;
  // 16-bit operands are widened; f32 is read where it lies.
  const auto widen = [&](const void* data, const cublasLtMatrixLayoutOpaque_t& m, std::vector<float>& wide) {
    if (p.in == Element::F32) return static_cast<const float*>(data);
    wide.resize(extent(m, p.in) / element_size(p.in));
    for (size_t i = 0; i < wide.size(); ++i) wide[i] = load_element(data, p.in, i);
    return static_cast<const float*>(wide.data());
  };
  std::vector<float> wide_a, wide_b;
  const float *a32 = widen(a, p.a, wide_a), *b32 = widen(b, p.b, wide_b);
  // One call for the batch, or one a matrix where both operands stay the same (oneDNN broadcasts one of them at most).
  const bool a_moves = p.a.batch_stride != 0, b_moves = p.b.batch_stride != 0;
  const int64_t together = a_moves || b_moves ? batch : 1;
  const auto strides = [](const cublasLtMatrixLayoutOpaque_t& m, bool moves, int64_t group, bool inner_first) {
    const int64_t step = moves && group > 1 ? m.batch_stride : m.ld * static_cast<int64_t>(m.cols);
    return inner_first ? memory::dims{step, 1, m.ld} : memory::dims{step, m.ld, 1};
  };
  const memory::desc left({b_moves ? together : 1, p.cols, p.k}, f32,
                          strides(p.b, b_moves, together, p.desc.trans_b == CUBLAS_OP_T));
  const memory::desc right({a_moves ? together : 1, p.k, p.rows}, f32,
                           strides(p.a, a_moves, together, p.desc.trans_a == CUBLAS_OP_T));
  const memory::desc product({together, p.cols, p.rows}, f32, memory::format_tag::abc);
  const dnnl::matmul primitive(star::describe_primitive<dnnl::matmul>(dnnl_engine(), {}, left, right, product));
  for (int64_t i = 0; i < batch; i += together)
    primitive.execute(dnnl_stream(), {{DNNL_ARG_SRC, dnnl_view(left, b32)},
                                      {DNNL_ARG_WEIGHTS, dnnl_view(right, a32)},
                                      {DNNL_ARG_DST, dnnl_view(product, to + i * p.rows * p.cols)}});
}

// D = op(A)·op(B) of bytes in i32, for one matrix; alpha is 1 and beta 0.
void multiply_bytes(const Problem& p, const void* a, const void* b, void* d) {
  for (int64_t col = 0; col < p.cols; ++col)
    for (int64_t row = 0; row < p.rows; ++row) {
      const int8_t *left = static_cast<const int8_t*>(a) + row * p.a.ld, *right = static_cast<const int8_t*>(b) + col * p.b.ld;
      int32_t sum = 0;
      for (int64_t i = 0; i < p.k; ++i) sum += left[i] * right[i];
      static_cast<int32_t*>(d)[col * p.d.ld + row] = sum;
    }
}

float gelu(float x) {  // tanh form
  return 0.5f * x * (1.0f + std::tanh(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}
float gelu_slope(float x) {
  const float t = std::tanh(0.7978845608028654f * (x + 0.044715f * x * x * x));
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.7978845608028654f * (1.0f + 3.0f * 0.044715f * x * x);
}

void finish(const Problem& p, float alpha, float beta, const float* product, const void* c, void* d) {
  for (int64_t i = 0; i < p.d.batch; ++i)
    for (int64_t col = 0; col < p.cols; ++col)
      for (int64_t row = 0; row < p.rows; ++row) {
        float x = alpha * product[(i * p.cols + col) * p.rows + row];
        if (beta != 0.0f) x += beta * load_element(c, p.out, static_cast<size_t>(i * p.c.batch_stride + col * p.c.ld + row));
        if (p.bias) x += load_element(p.desc.bias, p.out, static_cast<size_t>(row));
        const auto aux = static_cast<size_t>(i * p.desc.aux_stride + col * p.desc.aux_ld + row);
        if (p.aux) store_element(p.desc.aux, p.out, aux, x);
        if (p.gelu) x = gelu(x);
        if (p.dgelu) x *= gelu_slope(load_element(p.desc.aux, p.out, aux));
        store_element(d, p.out, static_cast<size_t>(i * p.d.batch_stride + col * p.d.ld + row), x);
      }
}

// The sum of op(B) over k, one element a column of D.
void sum_b(const Problem& p, const void* b) {
  const bool transposed = p.desc.trans_b == CUBLAS_OP_T;
  for (int64_t col = 0; col < p.cols; ++col) {
    float sum = 0.0f;
    for (int64_t i = 0; i < p.k; ++i)
      sum += load_element(b, p.in, static_cast<size_t>(transposed ? i * p.b.ld + col : col * p.b.ld + i));
    store_element(p.desc.bias, p.out, static_cast<size_t>(col), sum);
  }
}

// Where a GPU would fault.
bool in_device_memory(const Problem& p, float beta, const void* a, const void* b, const void* c, const void* d) {
  auto& memory = DeviceMemory::instance();
  const auto aux = static_cast<size_t>((p.d.batch - 1) * p.desc.aux_stride + p.desc.aux_ld * (p.cols - 1) + p.rows);
  const size_t size = element_size(p.out);
  return memory.contains(a, extent(p.a, p.in)) && memory.contains(b, extent(p.b, p.in)) &&
         memory.contains(d, extent(p.d, p.out)) && (beta == 0.0f || memory.contains(c, extent(p.c, p.out))) &&
         (!p.bias || memory.contains(p.desc.bias, static_cast<size_t>(p.rows) * size)) &&
         (!p.bias_gradient || memory.contains(p.desc.bias, static_cast<size_t>(p.cols) * size)) &&
         (!(p.aux || p.dgelu) || memory.contains(p.desc.aux, aux * size));
}

void mark_written(const Problem& p, void* data, int64_t ld, int64_t stride) {
  const size_t size = element_size(p.out);
  for (int64_t i = 0; i < p.d.batch; ++i)
    for (int64_t col = 0; col < p.cols; ++col)
      DeviceMemory::instance().mark_written(static_cast<char*>(data) + static_cast<size_t>(i * stride + col * ld) * size,
                                            static_cast<size_t>(p.rows) * size);
}

}  // namespace

cudaError_t run_product(const Problem& p, float alpha, float beta, const void* a, const void* b, const void* c, void* d) {
  if (!in_device_memory(p, beta, a, b, c, d)) return cudaErrorLaunchFailure;
  if (audit_enabled()) return cudaSuccess;
  try {
    const bool dense = p.d.ld == p.rows && (p.d.batch == 1 || p.d.batch_stride == p.rows * p.cols);
    if (p.bias_gradient) sum_b(p, b);
    if (p.in == Element::I8) {
      multiply_bytes(p, a, b, d);
      mark_written(p, d, p.d.ld, p.d.batch_stride);
      return cudaSuccess;
    }
    const bool plain = p.desc.epilogue == CUBLASLT_EPILOGUE_DEFAULT || p.bias_gradient;
    if (p.out == Element::F32 && dense && alpha == 1.0f && beta == 0.0f && plain) {
      multiply(p, a, b, static_cast<float*>(d));
    } else {
      std::vector<float> product(static_cast<size_t>(p.d.batch * p.rows * p.cols));
      multiply(p, a, b, product.data());
      finish(p, alpha, beta, product.data(), c, d);
    }
  } catch (const std::bad_alloc&) {
    return cudaErrorMemoryAllocation;
  } catch (const dnnl::error&) {
    return cudaErrorLaunchFailure;
  }
  mark_written(p, d, p.d.ld, p.d.batch_stride);
  if (p.aux) mark_written(p, p.desc.aux, p.desc.aux_ld, p.desc.aux_stride);
  if (p.bias_gradient) DeviceMemory::instance().mark_written(p.desc.bias, static_cast<size_t>(p.cols) * element_size(p.out));
  return cudaSuccess;
}

}  // namespace star::simt
