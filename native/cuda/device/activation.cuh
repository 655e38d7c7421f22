// Activations and their derivatives in float.
#pragma once

#include "cuda/device/kernel.cuh"

namespace star {

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ __forceinline__ float silu(float x) { return x * sigmoid(x); }
__device__ __forceinline__ float silu_slope(float x) {
  const float s = sigmoid(x);
  return s * (1.0f + x * (1.0f - s));
}

// The tanh form, x/2·(1 + tanh u) with u = √(2/π)·(x + 0.044715·x³) (Hendrycks & Gimpel 2016), which equals x·sigmoid(2u): that
// way the tail towards −∞ keeps its relative accuracy.
__device__ __forceinline__ float gelu(float x) {
  return x * sigmoid(x * (1.5957691216057308f + 1.5957691216057308f * 0.044715f * x * x));
}
__device__ __forceinline__ float gelu_slope(float x) {
  const float s = sigmoid(x * (1.5957691216057308f + 1.5957691216057308f * 0.044715f * x * x));
  return s + x * s * (1.0f - s) * (1.5957691216057308f + 3.0f * 1.5957691216057308f * 0.044715f * x * x);
}

// x·Φ(x) itself, Φ the normal distribution function.
__device__ __forceinline__ float gelu_erf(float x) { return 0.5f * x * erfcf(-0.7071067811865475f * x); }
__device__ __forceinline__ float gelu_erf_slope(float x) {
  return 0.5f * erfcf(-0.7071067811865475f * x) + x * 0.3989422804014327f * expf(-0.5f * x * x);
}

}  // namespace star
