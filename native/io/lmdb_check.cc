#include "io/lmdb_check.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace star {

namespace {

// The parts of the format this file relies on (64-bit, little-endian): a page starts with its number (8 bytes), padding (2),
// flags (2), lower (2) and upper (2) bound of its free space, or the count of pages (4) of an overflow run instead of those
// two. Pages 0 and 1 are meta pages: the newer transaction's names the root. Branch and leaf pages list 16-bit offsets of
// their nodes, each with low, high (data size or page number), flags, key size, key, data.
constexpr uint32_t kMagic = 0xBEEFC0DE, kVersion = 1;
constexpr size_t kHeader = 16, kNodeHeader = 8;
constexpr uint16_t kBranch = 0x01, kLeaf = 0x02, kMeta = 0x08;
constexpr uint16_t kBigData = 0x01;
constexpr uint64_t kNoPage = ~uint64_t{0};
constexpr int kMaxDepth = 32;

struct Database {
  uint32_t pad;
  uint16_t flags, depth;
  uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};
static_assert(sizeof(Database) == 48);

struct Meta {
  uint32_t magic, version;
  uint64_t address, map_size;
  Database free, main;  // free.pad is the page size
  uint64_t last_page, transaction;
};
static_assert(sizeof(Meta) == 136);

class Walk {
 public:
  Walk(const uint8_t* data, size_t size, const std::string& path) : data_(data), size_(size), path_(path) {}

  LmdbEntry run() {
    Meta first = meta(0, "first");
    page_size_ = first.free.pad;
    if (page_size_ < 512 || page_size_ > 32768 || (page_size_ & (page_size_ - 1)) != 0)
      damaged("its page size is not a power of two");
    Meta second = meta(page_size_, "second");
    if (second.free.pad != page_size_) damaged("its two headers name different page sizes");
    const Meta& newest = first.transaction < second.transaction ? second : first;
    if (newest.last_page > (uint64_t{1} << 40)) damaged("its header names too many pages");
    if (newest.main.flags != 0)
      fail(ErrorCode::File, "%s is an LMDB file with key options (flags 0x%x) that a pack does not have: pack the images again",
           path_.c_str(), newest.main.flags);
    last_page_ = newest.last_page;
    visited_.assign(size_ / page_size_ + 1, false);
    if (newest.main.root != kNoPage) tree(newest.main.root, 1);
    return first_;
  }

 private:
  [[noreturn]] void damaged(const char* why) const {
    fail(ErrorCode::File, "%s is not a sound LMDB file: %s. Copy or pack it again", path_.c_str(), why);
  }

  template <typename T>
  T at(size_t offset) const {
    T value;
    std::memcpy(&value, data_ + offset, sizeof value);
    return value;
  }

  Meta meta(size_t offset, const char* which) const {
    if (size_ < offset + kHeader + sizeof(Meta)) damaged("it is shorter than its headers");
    const Meta m = at<Meta>(offset + kHeader);
    if (!(at<uint16_t>(offset + 10) & kMeta) || m.magic != kMagic)
      fail(ErrorCode::File, "%s is not an LMDB file (its %s header is not one): give the path of a pack", path_.c_str(), which);
    if (m.version != kVersion)
      fail(ErrorCode::File,
           "%s holds LMDB data format %u, expected format 1 (LMDB 0.9, as Python's lmdb writes it): write the pack again with "
           "one of these",
           path_.c_str(), m.version);
    return m;
  }

  // Offset of page `number`, after checking that `bytes` from there lie inside the file.
  size_t page(uint64_t number, uint64_t bytes) const {
    if (number < 2 || number > last_page_) damaged("a page number points outside it");
    const uint64_t start = number * page_size_;
    if (start > size_ || bytes > size_ - start) damaged("it was cut off, or a page number points past its end");
    return static_cast<size_t>(start);
  }

  void tree(uint64_t number, int depth) {
    if (depth > kMaxDepth) damaged("its tree is too deep");
    const size_t start = page(number, page_size_);
    if (visited_[number]) damaged("a page is used twice");
    visited_[number] = true;
    const auto flags = at<uint16_t>(start + 10);
    const size_t lower = at<uint16_t>(start + 12), upper = at<uint16_t>(start + 14);
    if (at<uint64_t>(start) != number || (flags != kBranch && flags != kLeaf))
      damaged("a page is not what its place in the tree says");
    if (lower < kHeader || lower % 2 != 0 || lower > upper || upper > page_size_) damaged("a page has wrong bounds");
    const size_t count = (lower - kHeader) / 2;
    if (flags == kBranch ? count < 2 : count < 1) damaged("a page of the tree is empty");
    for (size_t i = 0; i < count; ++i) node(start, lower, at<uint16_t>(start + kHeader + 2 * i), flags == kBranch, depth);
  }

  void node(size_t start, size_t lower, size_t offset, bool branch, int depth) {
    if (offset < lower || offset % 2 != 0 || offset + kNodeHeader > page_size_) damaged("an entry lies outside its page");
    const size_t place = start + offset;
    const uint64_t low = at<uint16_t>(place), high = at<uint16_t>(place + 2);
    const auto flags = at<uint16_t>(place + 4);
    const size_t data = offset + kNodeHeader + at<uint16_t>(place + 6);
    if (data > page_size_) damaged("a key reaches past its page");
    if (branch) return tree(low | high << 16 | static_cast<uint64_t>(flags) << 32, depth + 1);
    const uint64_t bytes = low | high << 16;
    size_t value = start + data;
    if (flags == 0) {
      if (bytes > page_size_ - data) damaged("a value reaches past its page");
    } else if (flags == kBigData) {
      if (data + sizeof(uint64_t) > page_size_) damaged("a value reaches past its page");
      const auto number = at<uint64_t>(start + data);
      // Only where it lies: liblmdb does not look at the header of a large value either, and a read of one page for every
      // value would make opening a large pack slow.
      value = page(number, kHeader + bytes) + kHeader;
      if (visited_[number]) damaged("a page is used twice");
      visited_[number] = true;
    } else {
      fail(ErrorCode::File, "%s is an LMDB file with databases inside it, which a pack does not have: pack the images again",
           path_.c_str());
    }
    // Two keys that a wrong bit made alike would each be found for the other.
    const std::string_view key(reinterpret_cast<const char*>(data_) + place + kNodeHeader, at<uint16_t>(place + 6));
    if (key <= last_key_ && !first_.key.empty()) damaged("its keys are out of order");
    last_key_ = key;
    if (first_.key.empty()) first_ = {std::string(key), value};
  }

  const uint8_t* const data_;
  const size_t size_;
  const std::string& path_;
  size_t page_size_ = 0;
  uint64_t last_page_ = 0;
  LmdbEntry first_{};
  std::string_view last_key_;
  std::vector<bool> visited_;
};

}  // namespace

LmdbEntry check_lmdb(const void* data, size_t size, const std::string& path) {
  return Walk(static_cast<const uint8_t*>(data), size, path).run();
}

std::optional<uint64_t> lmdb_size_of_roots(const void* data, size_t size) {
  const auto* const bytes = static_cast<const uint8_t*>(data);
  uint64_t end = 0;
  size_t page_size = 0;
  for (int i = 0; i < 2; ++i) {
    Meta meta;
    if (size < i * page_size + kHeader + sizeof meta) return std::nullopt;
    std::memcpy(&meta, bytes + i * page_size + kHeader, sizeof meta);
    if (meta.magic != kMagic || meta.version != kVersion || (i == 1 && meta.free.pad != page_size)) return std::nullopt;
    page_size = meta.free.pad;
    if (page_size < 512 || page_size > 65536) return std::nullopt;
    for (const uint64_t root : {meta.free.root, meta.main.root}) {
      if (root == kNoPage) continue;
      if (root > (uint64_t{1} << 40)) return std::nullopt;
      end = std::max(end, (root + 1) * page_size);
    }
  }
  return end;
}

}  // namespace star
