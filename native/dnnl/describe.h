// Primitive descriptors for both generations of oneDNN's interface. Up to 2.x an operation descriptor (Primitive::desc) holds
// what defines a primitive; from 3.0 on there is none, and the primitive descriptor takes the same arguments itself.
#pragma once

#include <oneapi/dnnl/dnnl.hpp>

namespace star {

// `definition`: what defines Primitive, in oneDNN's order (propagation kind, algorithm, memory descriptors, strides, padding).
template <typename Primitive, typename... Definition>
typename Primitive::primitive_desc describe_primitive(const dnnl::engine& engine, const dnnl::primitive_attr& attributes,
                                                      const Definition&... definition) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, definition..., attributes};
#else
  return {typename Primitive::desc(definition...), attributes, engine};
#endif
}

// The same for the gradient of `forward`.
template <typename Primitive, typename Forward, typename... Definition>
typename Primitive::primitive_desc describe_backward(const dnnl::engine& engine, const dnnl::primitive_attr& attributes,
                                                     const Forward& forward, const Definition&... definition) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, definition..., forward, attributes};
#else
  return {typename Primitive::desc(definition...), attributes, engine, forward};
#endif
}

inline void append_activation(dnnl::post_ops& ops, dnnl::algorithm activation) {
#if DNNL_VERSION_MAJOR >= 3
  ops.append_eltwise(activation, 0.0f, 0.0f);
#else
  ops.append_eltwise(1.0f, activation, 0.0f, 0.0f);
#endif
}

}  // namespace star
