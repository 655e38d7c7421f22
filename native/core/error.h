// Errors of the native core: an exception with a code that the binding turns into a JS StarError.
#pragma once

#include <stdexcept>
#include <string>

namespace star {

enum class ErrorCode { Shape, DType, Device, Memory, File, Config, Comm, Argument, Internal };

// "ERR_SHAPE", "ERR_DTYPE", … as JavaScript sees them in `StarError.code`.
const char* error_code_name(ErrorCode code);

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

// Throws Error with a printf-style message. Messages say what was given, what was expected and what to do.
[[noreturn]] __attribute__((format(printf, 2, 3))) void fail(ErrorCode code, const char* format, ...);

}  // namespace star
