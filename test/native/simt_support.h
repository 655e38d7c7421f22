// What the tests of the SIMT runtime share.
#pragma once

#include <cstdlib>
#include <optional>
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

// A variable of the environment for the length of a block of code.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value.c_str(), 1);
  }
  ~Environment() {
    if (before_)
      setenv(name_, before_->c_str(), 1);
    else
      unsetenv(name_);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* const name_;
  std::optional<std::string> before_;
};

// STAR_SIMT_CHECK for the length of a block of code.
class Checks : public Environment {
 public:
  explicit Checks(bool on) : Environment("STAR_SIMT_CHECK", on ? "1" : "0") {}
};

// STAR_SIMT_AUDIT, on a GPU of this compute capability times ten.
class Audit : public Environment {
 public:
  explicit Audit(int capability = 80)
      : Environment("STAR_SIMT_AUDIT", "1"), machine_("STAR_SIMT_MACHINE", "capability=" + std::to_string(capability)) {}

 private:
  const Environment machine_;
};

// The words of the error that f throws, with its code, or "nothing".
template <class F>
std::string thrown(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return std::string(error_code_name(error.code())) + " " + error.what();
  }
  return "nothing";
}

inline testing::AssertionResult contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "'" << text << "' does not say '" << part << "'";
}

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
