// Runs the body of an exported function or method with native errors turned into JS ones: nothing else may leave it, since an
// exception that Node-API does not know ends the process.
#pragma once

#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "binding/call.h"

namespace star {

template <typename Body>
auto guarded(const char* name, const Napi::CallbackInfo& info, Body&& body) {
  const Call call(name, info);
  const auto out_of_memory = [&] {
    return to_js_error(info.Env(), "ERR_MEMORY", std::string(name) + ": out of memory; use a smaller batch or model");
  };
  try {
    if constexpr (std::is_void_v<decltype(body(call))>) {
      body(call);
      call.expect_intact();
    } else {
      auto result = body(call);
      call.expect_intact();
      return result;
    }
  } catch (const Napi::Error&) {
    throw;
  } catch (const Error& error) {
    // A tensor of the wrong type is noticed where its memory is read, which does not know for whom.
    const std::string message = error.what();
    const bool named = error.code() != ErrorCode::DType || message.rfind(name, 0) == 0;
    throw to_js_error(info.Env(), error_code_name(error.code()), named ? message : std::string(name) + ": " + message);
  } catch (const std::bad_alloc&) {
    throw out_of_memory();
  } catch (const std::length_error&) {  // a std::vector of more elements than memory has
    throw out_of_memory();
  } catch (const std::exception& error) {
    throw to_js_error(info.Env(), "ERR_INTERNAL", std::string(name) + ": " + error.what());
  }
}

}  // namespace star
