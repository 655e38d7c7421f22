#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "core/error.h"
#include "io/file_mapping.h"
#include "system/pages.h"

namespace star {

namespace {

// Closes the descriptor on every way out; a mapping stays valid without it.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

void* map_whole_file(const std::string& path, size_t* size) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0)
    fail(ErrorCode::File, "%s cannot be opened (%s): check the path and its permissions", path.c_str(), std::strerror(errno));
  struct stat status;
  if (::fstat(file.fd, &status) != 0)
    fail(ErrorCode::File, "%s: its size cannot be read (%s)", path.c_str(), std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail(ErrorCode::File, "%s is not a regular file: give the path of a file", path.c_str());
  if (status.st_size == 0) fail(ErrorCode::File, "%s is empty: download or write it again", path.c_str());
  *size = static_cast<size_t>(status.st_size);
  void* const data = ::mmap(nullptr, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.fd, 0);
  if (data == MAP_FAILED)
    fail(ErrorCode::File, "%s: %zu bytes cannot be mapped (%s): the file system may not allow it, copy the file to a local disk",
         path.c_str(), *size, std::strerror(errno));
  return data;
}

void unmap_file(void* data, size_t size) { ::munmap(data, size); }

void advise_pages(const void* data, size_t bytes, PageAdvice advice) {
  const uintptr_t page = page_size(), begin = reinterpret_cast<uintptr_t>(data), end = begin + bytes;
  const bool whole = advice == PageAdvice::DontNeed;
  const uintptr_t first = whole ? (begin + page - 1) / page * page : begin / page * page;
  const uintptr_t last = whole ? end / page * page : end;
  const int code = advice == PageAdvice::Random ? MADV_RANDOM : advice == PageAdvice::WillNeed ? MADV_WILLNEED : MADV_DONTNEED;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, code);
}

}  // namespace star
