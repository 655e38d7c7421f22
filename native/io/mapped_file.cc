#include "io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "core/backend.h"
#include "core/error.h"

namespace star {

namespace {

// Closes the descriptor on every way out; a mapping stays valid without it.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// Advice on pages that touch [data, data + bytes), or that lie wholly in it. Without it all works as well, if slower.
void advise(const void* data, size_t bytes, int advice, bool whole) {
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data), end = begin + bytes;
  const uintptr_t first = whole ? (begin + page - 1) / page * page : begin / page * page;
  const uintptr_t last = whole ? end / page * page : end;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, advice);
}

}  // namespace

std::shared_ptr<MappedFile> MappedFile::open(const std::string& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0)
    fail(ErrorCode::File, "%s cannot be opened (%s): check the path and its permissions", path.c_str(), std::strerror(errno));
  struct stat status;
  if (::fstat(file.fd, &status) != 0)
    fail(ErrorCode::File, "%s: its size cannot be read (%s)", path.c_str(), std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail(ErrorCode::File, "%s is not a regular file: give the path of a file", path.c_str());
  if (status.st_size == 0) fail(ErrorCode::File, "%s is empty: download or write it again", path.c_str());
  const size_t size = static_cast<size_t>(status.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.fd, 0);
  if (data == MAP_FAILED)
    fail(ErrorCode::File, "%s: %zu bytes cannot be mapped (%s): the file system may not allow it, copy the file to a local disk",
         path.c_str(), size, std::strerror(errno));
  // Headers lie far apart: what is read around each of them would be most of a checkpoint, of which tensors are a part.
  advise(data, size, MADV_RANDOM, false);
  return std::shared_ptr<MappedFile>(new MappedFile(path, data, size));
}

MappedFile::~MappedFile() {
  guard_.reset();
  ::munmap(data_, size_);
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
  advise(static_cast<const char*>(bytes.storage->data) + start, static_cast<size_t>(needed), MADV_WILLNEED, false);
  if ((reinterpret_cast<uintptr_t>(bytes.storage->data) + start) % dtype_size(dtype) == 0)
    return {bytes.storage, start, shape, dtype};
  Tensor copy = Tensor::empty(bytes.backend(), shape, dtype);
  std::memcpy(copy.data(), static_cast<const char*>(bytes.storage->data) + start, copy.bytes());
  return copy;
}

void drop_pages(const Tensor& tensor) {
  if (MapGuard::guards(tensor.data())) advise(tensor.data(), tensor.bytes(), MADV_DONTNEED, true);
}

}  // namespace star
