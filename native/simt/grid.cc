#include "simt/grid.h"

#include <backtrace.h>
#include <cxxabi.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "simt/block.h"
#include "threads/team.h"

namespace star::simt {

namespace {
uint32_t garbage_word(uint32_t seed, uint32_t index) {
  uint32_t hash = (index ^ seed) * 0x9e3779b1u;
  hash = (hash ^ hash >> 15) * 0x85ebca77u;
  // Signs follow the Thue–Morse sequence, which never stays the same for more than two words.
  uint32_t parity = index ^ index >> 16;
  parity ^= parity >> 8;
  parity ^= parity >> 4;
  parity = (0x6996u >> (parity & 15)) & 1;
  return (parity ? 0x7b00fb00u : 0xfb007b00u) | ((hash ^ hash >> 13) & 0x007f007fu);
}
}  // namespace

void fill_garbage(void* data, size_t bytes, bool other, uint64_t seed, size_t offset) {
  if (!other) {
    std::memset(data, 0xff, bytes);
    return;
  }
  auto* to = static_cast<unsigned char*>(data);
  const uint32_t key = static_cast<uint32_t>(seed) * 0xc2b2ae3du;
  while (bytes > 0) {
    const uint32_t word = garbage_word(key, static_cast<uint32_t>(offset / 4));
    const size_t within = offset % 4, part = std::min(bytes, 4 - within);
    std::memcpy(to, reinterpret_cast<const char*>(&word) + within, part);
    to += part;
    offset += part;
    bytes -= part;
    if (within + part < 4) break;
    const size_t words = bytes / 4;
    for (size_t i = 0; i < words; ++i) {
      const uint32_t next = garbage_word(key, static_cast<uint32_t>(offset / 4 + i));
      std::memcpy(to + 4 * i, &next, 4);
    }
    to += 4 * words;
    offset += 4 * words;
    bytes -= 4 * words;
  }
}

std::string kernel_name(const void* address) {
  static backtrace_state* state = backtrace_create_state(
      nullptr, 1, [](void*, const char*, int) {}, nullptr);
  std::string name;
  backtrace_syminfo(
      state, reinterpret_cast<uintptr_t>(address),
      [](void* data, uintptr_t, const char* symbol, uintptr_t, uintptr_t) {
        if (symbol) *static_cast<std::string*>(data) = symbol;
      },
      [](void*, const char*, int) {}, &name);
  if (name.empty()) return "at an address without a name";
  int status = 0;
  char* readable = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  if (status == 0) name = readable;
  std::free(readable);
  if (name.starts_with("void ")) name.erase(0, 5);
  // The parameters say nothing that the template arguments do not.
  const size_t parameters = name.rfind('(');
  return name.substr(0, name.starts_with("(") || parameters == std::string::npos ? name.size() : parameters);
}

uint64_t Grid::linear(uint3 b) const { return b.x + static_cast<uint64_t>(grid.x) * (b.y + static_cast<uint64_t>(grid.y) * b.z); }

void Grid::fail(uint3 b, const std::string& text) {
  const std::lock_guard lock(mutex_);
  failed_ = true;
  if (linear(b) >= failed_block_) return;
  failed_block_ = linear(b);
  failure_ = "kernel " + kernel_name(kernel.address) + ", block (" + std::to_string(b.x) + ", " + std::to_string(b.y) + ", " +
             std::to_string(b.z) + "), " + text;
}

bool Grid::run() {
  const auto all = static_cast<int64_t>(static_cast<uint64_t>(grid.x) * grid.y * grid.z);
  const int64_t count = pass.ends_only ? std::min<int64_t>(all, 2) : all;
  // Starting the team costs some microseconds: not for a handful of threads.
  const int64_t threads = count * block.x * block.y * block.z;
  const bool alone = pass.one_thread || count == 1 || threads < 1024;
  std::atomic<int64_t> next = 0;
  run_shared(alone ? 1 : thread_count(), [&] {
    thread_local Block runner;
    runner.begin(*this);
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count && !failed();) {
      const auto number = static_cast<uint64_t>(pass.ends_only ? i * (all - 1) : pass.descending ? count - 1 - i : i);
      runner.run({static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
                  static_cast<unsigned>(number / grid.x / grid.y)});
    }
    runner.end();
  });
  return !failed();
}

}  // namespace star::simt
