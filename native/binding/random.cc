#include "binding/call.h"
#include "binding/families.h"
#include "core/registry.h"

namespace star {

namespace {

RandomKind random_kind(const Call& call, size_t i) {
  const std::string name = call.string(i, "kind");
  if (name == "uniform") return RandomKind::Uniform;
  if (name == "normal") return RandomKind::Normal;
  if (name == "truncatedNormal") return RandomKind::TruncatedNormal;
  if (name == "gumbel") return RandomKind::Gumbel;
  fail(ErrorCode::Argument, "%s: kind is '%s', expected uniform, normal, truncatedNormal or gumbel", call.op, name.c_str());
}

uint64_t unsigned_integer(const Call& call, size_t i, const char* name, int64_t limit) {
  return static_cast<uint64_t>(call.integer(i, name, 0, limit));
}

Napi::Value random(const Call& call) {  // (shape, device, kind, a, b, seedLow, seedHigh, offset) → f32
  Tensor y = Tensor::empty(backend(call.string(1, "device")), call.shape(0, "shape"), DType::F32);
  const uint64_t low = unsigned_integer(call, 5, "seedLow", 0xFFFFFFFF), high = unsigned_integer(call, 6, "seedHigh", 0xFFFFFFFF);
  y.backend().random({y.ref(), random_kind(call, 2), static_cast<float>(call.number(3, "a")),
                      static_cast<float>(call.number(4, "b")), high << 32 | low,
                      unsigned_integer(call, 7, "offset", int64_t{1} << 53), y.count()});
  return call.wrap(y);
}

}  // namespace

void define_random(Napi::Object exports) { define_op(exports, "random", random); }

}  // namespace star
