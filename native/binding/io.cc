#include "binding/call.h"
#include "binding/families.h"
#include "binding/lmdb_object.h"
#include "core/registry.h"
#include "io/mapped_file.h"

namespace star {

namespace {

Napi::Value map_file_op(const Call& call) {  // (path) → u8 (bytes of the file), on the CPU
  return call.wrap(map_file(backend("cpu"), call.string(0, "path")));
}

Napi::Value tensor_at_op(const Call& call) {  // (bytes u8 (N), offset, shape, dtype) → tensor of shape
  const Tensor& bytes = call.tensor(0, "bytes");
  call.expect_rank(bytes, "bytes", 1);
  call.expect_dtype(bytes, "bytes", DType::U8);
  const int64_t offset = call.integer(1, "offset");
  if (offset < 0) fail(ErrorCode::Argument, "%s: offset is %lld, expected 0 or more", call.op, static_cast<long long>(offset));
  if (&bytes.backend() != &backend("cpu"))
    fail(ErrorCode::Device, "%s: bytes lie on %s, expected cpu", call.op, bytes.backend().name());
  return call.wrap(
      tensor_at(bytes, static_cast<size_t>(offset), call.shape(2, "shape"), dtype_from_name(call.string(3, "dtype"))));
}

}  // namespace

void define_io(Napi::Object exports) {
  LmdbReaderObject::define(exports.Env(), exports);
  LmdbWriterObject::define(exports.Env(), exports);
  define_op(exports, "mapFile", map_file_op);
  define_op(exports, "tensorAt", tensor_at_op);
}

}  // namespace star
