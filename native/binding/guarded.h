// What `define_op` is for functions, for methods of classes.
#pragma once

#include <new>
#include <string>
#include <utility>

#include "binding/call.h"

namespace star {

// Runs a method body with native errors turned into JS ones.
template <typename Body>
auto guarded(const char* name, const Napi::CallbackInfo& info, Body&& body) {
  try {
    return body(Call(name, info));
  } catch (const Error& error) {
    throw to_js_error(info.Env(), error_code_name(error.code()), error.what());
  } catch (const std::bad_alloc&) {
    throw to_js_error(info.Env(), "ERR_MEMORY", std::string(name) + ": out of memory");
  }
}

}  // namespace star
