#include "core/error.h"
#include "io/file_mapping.h"
#include "system/windows/windows.h"

namespace star {

namespace {

// Closes the handle on every way out; a view stays valid without it.
struct Handle {
  HANDLE handle;
  bool valid() const { return handle != nullptr && handle != INVALID_HANDLE_VALUE; }
  ~Handle() {
    if (valid()) CloseHandle(handle);
  }
};

}  // namespace

void* map_whole_file(const std::string& path, size_t* size) {
  const Handle file{CreateFileW(wide(path).c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                                OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr)};
  if (!file.valid())
    fail(ErrorCode::File, "%s cannot be opened (Windows error %lu): check the path and its permissions", path.c_str(),
         GetLastError());
  if (GetFileType(file.handle) != FILE_TYPE_DISK)
    fail(ErrorCode::File, "%s is not a regular file: give the path of a file", path.c_str());
  LARGE_INTEGER length;
  if (!GetFileSizeEx(file.handle, &length))
    fail(ErrorCode::File, "%s: its size cannot be read (Windows error %lu)", path.c_str(), GetLastError());
  if (length.QuadPart == 0) fail(ErrorCode::File, "%s is empty: download or write it again", path.c_str());
  *size = static_cast<size_t>(length.QuadPart);
  const Handle mapping{CreateFileMappingW(file.handle, nullptr, PAGE_WRITECOPY, 0, 0, nullptr)};
  void* const data = mapping.valid() ? MapViewOfFile(mapping.handle, FILE_MAP_COPY, 0, 0, 0) : nullptr;
  if (!data)
    fail(ErrorCode::File, "%s: %zu bytes cannot be mapped (Windows error %lu): copy the file to a local disk", path.c_str(),
         *size, GetLastError());
  return data;
}

void unmap_file(void* data, size_t) { UnmapViewOfFile(data); }

void advise_pages(const void* data, size_t bytes, PageAdvice advice) {
  if (advice == PageAdvice::WillNeed) {
    WIN32_MEMORY_RANGE_ENTRY range{const_cast<void*>(data), bytes};
    PrefetchVirtualMemory(GetCurrentProcess(), 1, &range, 0);
  } else if (advice == PageAdvice::DontNeed) {
    VirtualUnlock(const_cast<void*>(data), bytes);  // of pages that are not locked: takes them out of the working set
  }
}

}  // namespace star
