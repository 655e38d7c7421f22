// What the tests of the SIMT runtime share.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "cuda/device/element.cuh"
#include "cuda/device/ptx.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/launch.h"
#include "support.h"

namespace star::test {

// Device memory with values, or with nothing written to it.
template <class T>
class Buffer {
 public:
  explicit Buffer(size_t count) : count_(count) {
    check_cuda(cudaMalloc(reinterpret_cast<void**>(&data), count * sizeof(T)), "test");
  }
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) {
    check_cuda(cudaMemcpy(data, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice), "test");
  }
  ~Buffer() { cudaFree(data); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::vector<T> values() const {
    std::vector<T> values(count_);
    check_cuda(cudaMemcpy(values.data(), data, count_ * sizeof(T), cudaMemcpyDeviceToHost), "test");
    return values;
  }

  T* data = nullptr;

 private:
  size_t count_;
};

// STAR_SIMT_CHECK for the length of a block of code.
class Checks {
 public:
  explicit Checks(bool on) {
    if (const char* before = std::getenv("STAR_SIMT_CHECK")) before_ = before;
    setenv("STAR_SIMT_CHECK", on ? "1" : "0", 1);
  }
  ~Checks() { setenv("STAR_SIMT_CHECK", before_.c_str(), 1); }
  Checks(const Checks&) = delete;
  Checks& operator=(const Checks&) = delete;

 private:
  std::string before_ = "0";
};

// What the launch reports, or nothing.
template <class... Parameters, class... Arguments>
std::string problem(bool checked, void (*kernel)(Parameters...), const LaunchShape& shape, Arguments... arguments) {
  const Checks checks(checked);
  try {
    launch("test", kernel, shape, nullptr, arguments...);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace star::test
