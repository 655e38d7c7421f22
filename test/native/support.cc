#include "support.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "core/philox.h"

extern "C" star::Backend* star_create_backend();

namespace star::test {

Backend& backend() {
  static Backend* instance = star_create_backend();
  return *instance;
}

bool on_cpu() { return std::string(backend().name()) == "cpu"; }

namespace {

uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
float from_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

uint16_t to_bf16(float x) {
  if (std::isnan(x)) return 0x7fff;
  const uint32_t bits = bits_of(x);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
float from_bf16(uint16_t bits) { return from_bits(static_cast<uint32_t>(bits) << 16); }

// By arithmetic on the value, not on bits: independent of the conversions under test.
uint16_t to_f16(float x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  if (std::isnan(x)) return 0x7fff;
  const double magnitude = std::fabs(static_cast<double>(x));
  if (magnitude >= 65520.0) return sign | 0x7c00;
  int exponent = magnitude > 0 ? std::max(std::ilogb(magnitude), -14) : -14;
  const double unit = std::ldexp(1.0, exponent - 10);
  double steps = std::nearbyint(magnitude / unit);  // to nearest even; 2048 carries into the exponent below
  if (steps >= 2048.0) {
    steps /= 2;
    ++exponent;
  }
  const int mantissa = static_cast<int>(steps);
  return static_cast<uint16_t>(sign | (mantissa >= 1024 ? ((exponent + 15) << 10 | (mantissa - 1024)) : mantissa));
}
float from_f16(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  double value;
  if (exponent == 31) {
    value = mantissa ? NAN : INFINITY;
  } else if (exponent == 0) {
    value = std::ldexp(mantissa, -24);
  } else {
    value = std::ldexp(1024 + mantissa, exponent - 25);
  }
  return static_cast<float>(bits & 0x8000 ? -value : value);
}

}  // namespace

const std::vector<DType> kFloats{DType::F32, DType::F16, DType::BF16};

DeviceTensor::DeviceTensor(int64_t count, DType dtype)
    : count(count), dtype(dtype), data_(backend().allocate(static_cast<size_t>(count) * dtype_size(dtype))) {}
DeviceTensor::~DeviceTensor() {
  if (data_) backend().release(data_, static_cast<size_t>(count) * dtype_size(dtype));
}
DeviceTensor::DeviceTensor(DeviceTensor&& other) noexcept : count(other.count), dtype(other.dtype), data_(other.data_) {
  other.data_ = nullptr;
}

std::vector<uint8_t> DeviceTensor::bytes() const {
  std::vector<uint8_t> raw(static_cast<size_t>(count) * dtype_size(dtype));
  backend().copy_to_host(raw.data(), data_, raw.size());
  return raw;
}

std::vector<int32_t> DeviceTensor::integers() const {
  if (dtype != DType::I32) throw std::logic_error("not an i32 tensor");
  std::vector<int32_t> values(static_cast<size_t>(count));
  backend().copy_to_host(values.data(), data_, values.size() * 4);
  return values;
}

std::vector<float> DeviceTensor::values() const {
  const std::vector<uint8_t> raw = bytes();
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t half = 0;
    if (dtype == DType::F32) {
      std::memcpy(&values[i], raw.data() + 4 * i, 4);
    } else {
      std::memcpy(&half, raw.data() + 2 * i, 2);
      values[i] = dtype == DType::F16 ? from_f16(half) : from_bf16(half);
    }
  }
  return values;
}

DeviceTensor empty(int64_t count, DType dtype) { return DeviceTensor(count, dtype); }

DeviceTensor upload(const std::vector<float>& values, DType dtype) {
  DeviceTensor tensor(static_cast<int64_t>(values.size()), dtype);
  if (dtype == DType::F32) {
    backend().copy_from_host(tensor.ref().data, values.data(), values.size() * 4);
  } else {
    std::vector<uint16_t> halves(values.size());
    std::transform(values.begin(), values.end(), halves.begin(), dtype == DType::F16 ? to_f16 : to_bf16);
    backend().copy_from_host(tensor.ref().data, halves.data(), halves.size() * 2);
  }
  return tensor;
}
DeviceTensor upload(const std::vector<int32_t>& values) {
  DeviceTensor tensor(static_cast<int64_t>(values.size()), DType::I32);
  backend().copy_from_host(tensor.ref().data, values.data(), values.size() * 4);
  return tensor;
}
DeviceTensor upload(const std::vector<uint8_t>& values) {
  DeviceTensor tensor(static_cast<int64_t>(values.size()), DType::U8);
  backend().copy_from_host(tensor.ref().data, values.data(), values.size());
  return tensor;
}

std::vector<float> rounded(std::vector<float> values, DType dtype) {
  for (float& x : values) {
    if (dtype == DType::F16) x = from_f16(to_f16(x));
    if (dtype == DType::BF16) x = from_bf16(to_bf16(x));
  }
  return values;
}

std::vector<float> random_values(int64_t count, uint64_t seed, float low, float high) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = low + (high - low) * philox_uniform(philox4x32(seed, i / 4)[i % 4]);
  return values;
}

std::vector<int32_t> random_integers(int64_t count, uint64_t seed, int32_t low, int32_t high) {
  std::vector<int32_t> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = low + static_cast<int32_t>(philox4x32(seed, i / 4)[i % 4] % static_cast<uint32_t>(high - low));
  return values;
}

void expect_close(const char* row, const std::vector<float>& given, const std::vector<double>& expected, DType dtype) {
  ASSERT_EQ(given.size(), expected.size());
  double error = 0, norm = 0, largest = 0, farthest = 0;
  size_t where = 0;
  for (size_t i = 0; i < given.size(); ++i) {
    if (!std::isfinite(expected[i])) {
      if (std::isnan(expected[i])) {
        EXPECT_TRUE(std::isnan(given[i])) << "element " << i << " is " << given[i] << ", expected NaN";
      } else {
        EXPECT_EQ(static_cast<double>(given[i]), expected[i]) << "element " << i;
      }
      continue;
    }
    const double difference = std::fabs(static_cast<double>(given[i]) - expected[i]);
    error += difference * difference;
    norm += expected[i] * expected[i];
    largest = std::max(largest, std::fabs(expected[i]));
    if (!(difference <= farthest)) {  // NaN too
      farthest = difference;
      where = i;
    }
  }
  const double limit = tolerance(row, dtype);
  const double relative = norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
  EXPECT_LE(relative, limit) << row << " " << dtype_name(dtype) << ": relative error of the whole";
  EXPECT_LE(farthest, kElementFactor * limit * (norm > 0 ? largest : 1.0))
      << row << " " << dtype_name(dtype) << ": element " << where << " is " << given[where] << ", expected " << expected[where];
}

}  // namespace star::test
