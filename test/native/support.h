// What native tests share: the backend under test, tensors on it, values, and how close results must come.
// The tests speak to the Backend interface only, so the same sources run on the simt backend and on a real GPU.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "core/backend.h"

namespace star::test {

// The backend that this binary was linked with.
Backend& backend();

// The CPU backend reports wrong numbers in the call that meets them, in words of its own, and has none of the CUDA kernels'
// limits on sizes.
bool on_cpu();

// Memory on the backend under test, given back at the end.
class DeviceTensor {
 public:
  DeviceTensor(int64_t count, DType dtype);
  ~DeviceTensor();
  DeviceTensor(DeviceTensor&& other) noexcept;
  DeviceTensor(const DeviceTensor&) = delete;
  DeviceTensor& operator=(const DeviceTensor&) = delete;

  const int64_t count;
  const DType dtype;

  Ref ref() const { return {data_, dtype}; }
  operator Ref() const { return ref(); }
  operator CRef() const { return ref(); }
  std::vector<float> values() const;  // f32, f16 and bf16 as float
  std::vector<int32_t> integers() const;
  std::vector<uint8_t> bytes() const;  // raw

 private:
  void* data_;
};

DeviceTensor empty(int64_t count, DType dtype = DType::F32);
DeviceTensor upload(const std::vector<float>& values, DType dtype = DType::F32);  // rounded to the dtype
DeviceTensor upload(const std::vector<int32_t>& values);
DeviceTensor upload(const std::vector<uint8_t>& values);

// The values as a tensor of that dtype holds them (rounded to nearest even): what a reference must start from.
std::vector<float> rounded(std::vector<float> values, DType dtype);

// Deterministic values, uniform in [low, high); another seed gives others.
std::vector<float> random_values(int64_t count, uint64_t seed, float low = -1.0f, float high = 1.0f);
std::vector<int32_t> random_integers(int64_t count, uint64_t seed, int32_t low, int32_t high);  // in [low, high)

// How far results may be from float64, tolerances.cc: a row of the table for an op, or for one of its outputs or a case of its
// own, and the type that the result is stored in.
double tolerance(const char* row, DType dtype);

// Fails unless ‖given − expected‖₂ / ‖expected‖₂ is within tolerance(row, dtype), and no element is off by more than
// kElementFactor times that part of the largest |expected|. NaN and infinities must match exactly.
void expect_close(const char* row, const std::vector<float>& given, const std::vector<double>& expected, DType dtype);
constexpr double kElementFactor = 4.0;

// f32, f16, bf16, and their names for INSTANTIATE_TEST_SUITE_P.
extern const std::vector<DType> kFloats;

}  // namespace star::test
