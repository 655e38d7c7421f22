#include "io/mapped_file.h"

#include <cstdint>
#include <cstring>

#include "core/backend.h"
#include "core/error.h"
#include "io/file_mapping.h"

namespace star {

std::shared_ptr<MappedFile> MappedFile::open(const std::string& path) {
  size_t size = 0;
  void* const data = map_whole_file(path, &size);
  // Headers lie far apart: what is read around each of them would be most of a checkpoint, of which tensors are a part.
  advise_pages(data, size, PageAdvice::Random);
  return std::shared_ptr<MappedFile>(new MappedFile(path, data, size));
}

MappedFile::~MappedFile() {
  guard_.reset();
  unmap_file(data_, size_);
}

void MappedFile::expect_intact() const {
  if (guard_->broken())
    fail(ErrorCode::File, "%s was shortened, or its disk failed, while it was in use: restore it and load it again",
         path_.c_str());
}

Tensor map_file(Backend& backend, const std::string& path) {
  std::shared_ptr<MappedFile> file = MappedFile::open(path);
  void* data = file->data();
  const size_t size = file->size();
  return {std::make_shared<Storage>(backend, data, size, std::move(file)), 0, {static_cast<int64_t>(size)}, DType::U8};
}

Tensor tensor_at(const Tensor& bytes, size_t offset, const Shape& shape, DType dtype) {
  int64_t needed = 0;
  const bool overflow = __builtin_mul_overflow(shape.count(), static_cast<int64_t>(dtype_size(dtype)), &needed);
  if (overflow || offset > bytes.bytes() || static_cast<size_t>(needed) > bytes.bytes() - offset)
    fail(ErrorCode::File, "a tensor of shape %s (%s) at byte %zu does not lie inside the %zu bytes of the file",
         shape.str().c_str(), dtype_name(dtype), offset, bytes.bytes());
  const size_t start = bytes.offset + offset;
  advise_pages(static_cast<const char*>(bytes.storage->data) + start, static_cast<size_t>(needed), PageAdvice::WillNeed);
  if ((reinterpret_cast<uintptr_t>(bytes.storage->data) + start) % dtype_size(dtype) == 0)
    return {bytes.storage, start, shape, dtype};
  Tensor copy = Tensor::empty(bytes.backend(), shape, dtype);
  std::memcpy(copy.data(), static_cast<const char*>(bytes.storage->data) + start, copy.bytes());
  return copy;
}

void drop_pages(const Tensor& tensor) {
  if (MapGuard::guards(tensor.data())) advise_pages(tensor.data(), tensor.bytes(), PageAdvice::DontNeed);
}

}  // namespace star
