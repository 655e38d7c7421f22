#include <algorithm>
#include <cstring>
#include <vector>

#include "binding/call.h"
#include "binding/families.h"
#include "binding/lmdb_object.h"
#include "binding/record_store_object.h"
#include "core/registry.h"
#include "io/mapped_file.h"
#include "io/resize.h"

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

Napi::Value drop_pages_op(const Call& call) {  // (tensor)
  drop_pages(call.tensor(0, "tensor"));
  return call.info.Env().Undefined();
}

// A resize on a thread of libuv's pool; the promise gives the pixels.
class ResizeWorker : public Napi::AsyncWorker {
 public:
  ResizeWorker(Napi::Env env, Napi::Uint8Array rgb, int row_pixels, ResizeWindow window, int to_width, int to_height,
               bool mirrored)
      : Napi::AsyncWorker(env, "resizeLanczos"),
        deferred(Napi::Promise::Deferred::New(env)),
        source_(Napi::Persistent(rgb)),
        rgb_(rgb.Data()),
        row_pixels_(row_pixels),
        window_(window),
        to_width_(to_width),
        to_height_(to_height),
        mirrored_(mirrored) {}

  Napi::Promise::Deferred deferred;

 protected:
  void Execute() override {
    out_.resize(static_cast<size_t>(to_width_) * to_height_ * 3);
    resize_lanczos(rgb_, row_pixels_, window_, to_width_, to_height_, mirrored_, out_.data());
  }
  void OnOK() override {
    Napi::Uint8Array pixels = Napi::Uint8Array::New(Env(), out_.size());
    std::memcpy(pixels.Data(), out_.data(), out_.size());
    deferred.Resolve(pixels);
  }
  void OnError(const Napi::Error& error) override {
    deferred.Reject(to_js_error(Env(), "ERR_MEMORY", "resizeLanczos: " + error.Message()).Value());
  }

 private:
  Napi::Reference<Napi::Uint8Array> source_;  // keeps the pixels alive
  const uint8_t* rgb_;
  int row_pixels_;
  ResizeWindow window_;
  int to_width_, to_height_;
  bool mirrored_;
  std::vector<uint8_t> out_;
};

// (rgb Uint8Array, [width, height], [left, top, width, height], [to width, to height], mirrored) → promise of Uint8Array
Napi::Value resize_lanczos_op(const Call& call) {
  if (!call.info[0].IsTypedArray() || call.info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    fail(ErrorCode::Argument, "%s: rgb must be a Uint8Array", call.op);
  const auto rgb = call.info[0].As<Napi::Uint8Array>();
  const std::vector<int64_t> size = call.integers(1, "size"), window = call.integers(2, "window"), to = call.integers(3, "to");
  constexpr int64_t kLargest = 1 << 20;
  const auto inside = [](int64_t begin, int64_t length, int64_t whole) {
    return begin >= 0 && length >= 1 && whole <= kLargest && begin <= whole - length;
  };
  if (size.size() != 2 || window.size() != 4 || to.size() != 2 || !inside(window[0], window[2], size[0]) ||
      !inside(window[1], window[3], size[1]) || !inside(0, to[0], kLargest) || !inside(0, to[1], kLargest))
    fail(ErrorCode::Argument, "%s: expected a window inside the picture and sizes from 1 to %lld", call.op,
         static_cast<long long>(kLargest));
  if (static_cast<int64_t>(rgb.ByteLength()) != size[0] * size[1] * 3)
    call.wrong_shape("rgb has %zu bytes, expected %lld", rgb.ByteLength(), static_cast<long long>(size[0] * size[1] * 3));
  // Between the two passes lie the window's rows at their new width.
  constexpr int64_t kMostPixels = int64_t{1} << 28;
  if (std::max(window[3], to[1]) * to[0] > kMostPixels)
    fail(ErrorCode::Argument, "%s: %lld rows at the new width of %lld are more than %lld pixels: ask for a smaller picture",
         call.op, static_cast<long long>(std::max(window[3], to[1])), static_cast<long long>(to[0]),
         static_cast<long long>(kMostPixels));
  const ResizeWindow part{static_cast<int>(window[0]), static_cast<int>(window[1]), static_cast<int>(window[2]),
                          static_cast<int>(window[3])};
  auto* worker = new ResizeWorker(call.info.Env(), rgb, static_cast<int>(size[0]), part, static_cast<int>(to[0]),
                                  static_cast<int>(to[1]), call.boolean(4, "mirrored"));
  worker->Queue();
  return worker->deferred.Promise();
}

}  // namespace

void define_io(Napi::Object exports) {
  LmdbReaderObject::define(exports.Env(), exports);
  LmdbWriterObject::define(exports.Env(), exports);
  RecordStoreObject::define(exports.Env(), exports);
  define_op(exports, "mapFile", map_file_op);
  define_op(exports, "tensorAt", tensor_at_op);
  define_op(exports, "dropPages", drop_pages_op);
  define_op(exports, "resizeLanczos", resize_lanczos_op);
}

}  // namespace star
