// Arrays of f32, f16 and bf16 elements as float, and oneDNN's engine: what the stand-ins of cuBLASLt and cuDNN share.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>
#include <oneapi/dnnl/dnnl.hpp>

namespace star::simt {

enum class Element : uint8_t { F32, F16, BF16, I8, I32 };  // the last two for products of bytes alone

inline size_t element_size(Element type) {
  switch (type) {
    case Element::I8: return 1;
    case Element::F16:
    case Element::BF16: return 2;
    default: return 4;
  }
}

inline float load_element(const void* data, Element type, size_t i) {
  switch (type) {
    case Element::F16: return __half2float(static_cast<const __half*>(data)[i]);
    case Element::BF16: return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]);
    default: return static_cast<const float*>(data)[i];
  }
}

inline void store_element(void* data, Element type, size_t i, float value) {  // rounds to nearest even
  switch (type) {
    case Element::F16: static_cast<__half*>(data)[i] = __float2half_rn(value); return;
    case Element::BF16: static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(value); return;
    default: static_cast<float*>(data)[i] = value;
  }
}

inline bool aligned(const void* address, size_t bytes) { return reinterpret_cast<uintptr_t>(address) % bytes == 0; }

inline const dnnl::engine& dnnl_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

inline dnnl::stream& dnnl_stream() {  // work given to it is done when the call returns
  thread_local dnnl::stream stream(dnnl_engine());
  return stream;
}

inline dnnl::memory dnnl_view(const dnnl::memory::desc& desc, const void* data) {
  return dnnl::memory(desc, dnnl_engine(), const_cast<void*>(data));
}

}  // namespace star::simt
