#include "core/error.h"

#include <cstdarg>
#include <cstdio>

namespace star {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::Shape: return "ERR_SHAPE";
    case ErrorCode::DType: return "ERR_DTYPE";
    case ErrorCode::Device: return "ERR_DEVICE";
    case ErrorCode::Memory: return "ERR_MEMORY";
    case ErrorCode::File: return "ERR_FILE";
    case ErrorCode::Config: return "ERR_CONFIG";
    case ErrorCode::Comm: return "ERR_COMM";
    case ErrorCode::Argument: return "ERR_ARGUMENT";
    case ErrorCode::Internal: return "ERR_INTERNAL";
  }
  return "ERR_INTERNAL";
}

void fail(ErrorCode code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  va_list copy;
  va_copy(copy, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, copy);
  va_end(copy);
  std::string message(length > 0 ? static_cast<size_t>(length) : 0, '\0');
  if (length > 0) std::vsnprintf(message.data(), message.size() + 1, format, arguments);
  va_end(arguments);
  throw Error(code, message);
}

}  // namespace star
