// A file mapped into memory: pages are read from the file when they are first touched, without those around them, and a write
// goes to a private copy of the page, never to the file.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/tensor.h"
#include "system/map_guard.h"

namespace star {

class MappedFile final : public MemoryOwner {
 public:
  static std::shared_ptr<MappedFile> open(const std::string& path);  // throws ERR_FILE
  ~MappedFile() override;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  void expect_intact() const override;  // throws ERR_FILE when the file was shortened, and read beyond its end
  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  MappedFile(std::string path, void* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size), guard_(std::in_place, data, size) {}
  const std::string path_;
  void* const data_;
  const size_t size_;
  std::optional<MapGuard> guard_;
};

// All bytes of a file as a u8 tensor of `backend` (which must address host memory) on mapped storage.
Tensor map_file(Backend& backend, const std::string& path);

// The tensor of `shape` and `dtype` that starts `offset` bytes into `bytes`: it shares storage when its elements are aligned
// there and is a copy otherwise. The system is asked to read all of it ahead. Throws ERR_FILE when it does not lie inside.
Tensor tensor_at(const Tensor& bytes, size_t offset, const Shape& shape, DType dtype);

// Gives back the memory of the pages of a mapped file that lie wholly in a tensor; they are read again when they are touched, and
// what was written to them is lost. Nothing happens to a tensor on other memory.
void drop_pages(const Tensor& tensor);

}  // namespace star
