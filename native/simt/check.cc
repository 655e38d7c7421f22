#include "simt/check.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "simt/memory.h"

namespace star::simt {

bool checks_enabled() {
  const char* value = std::getenv("STAR_SIMT_CHECK");
  return value && std::strcmp(value, "1") == 0;
}

namespace {

// What one allocation held before the launch and after its first run.
struct Snapshot {
  Allocation* allocation;
  std::vector<char> before, first;
};

constexpr size_t kChunk = 64;  // bytes that are looked at together
constexpr char kGarbage = static_cast<char>(0xff);

// Host libraries write without telling: a word that does not hold the first garbage any more has been written.
void find_writes(Allocation& allocation) {
  std::vector<uint8_t>& unwritten = allocation.unwritten;
  static const std::vector<char> garbage(kChunk, kGarbage);
  bool any_unwritten = false;
  for (size_t i = 0; i < unwritten.size(); i += kChunk) {
    const size_t end = std::min(i + kChunk, unwritten.size());
    if (std::memcmp(allocation.data + i, garbage.data(), end - i) == 0) {
      any_unwritten |= std::memchr(&unwritten[i], 1, end - i) != nullptr;
      continue;
    }
    for (size_t word = i; word < end; word += 4) {
      const size_t stop = std::min(word + 4, end);
      const bool written = std::any_of(allocation.data + word, allocation.data + stop, [](char c) { return c != kGarbage; });
      for (size_t j = word; j < stop; ++j) {
        if (written) unwritten[j] = 0;
        any_unwritten |= unwritten[j] != 0;
      }
    }
  }
  if (!any_unwritten) unwritten = {};
}

// Puts the other garbage where nobody has written.
void change_garbage(Allocation& allocation) {
  const std::vector<uint8_t>& unwritten = allocation.unwritten;
  for (size_t i = 0; i < unwritten.size();) {
    if (!unwritten[i]) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < unwritten.size() && unwritten[end]) ++end;
    fill_garbage(allocation.data + i, end - i, true, allocation.number, i);
    i = end;
  }
}

// A byte that nobody has written still holds one garbage after the first run and the other after the second, which differ
// everywhere: what is equal has been written, by both runs alike.
std::string compare(Snapshot& snapshot) {
  Allocation& allocation = *snapshot.allocation;
  std::vector<uint8_t>& unwritten = allocation.unwritten;
  bool any_unwritten = false;
  for (size_t i = 0; i < allocation.bytes; i += kChunk) {
    const size_t end = std::min(i + kChunk, allocation.bytes);
    if (std::memcmp(&snapshot.first[i], allocation.data + i, end - i) == 0) {
      if (!unwritten.empty()) std::memset(&unwritten[i], 0, end - i);
      continue;
    }
    char garbage[kChunk];
    fill_garbage(garbage, end - i, true, allocation.number, i);
    for (size_t j = i; j < end; ++j) {
      const char first = snapshot.first[j], second = allocation.data[j];
      if (first == second) {
        if (!unwritten.empty()) unwritten[j] = 0;
      } else if (!unwritten.empty() && unwritten[j] && first == kGarbage && second == garbage[j - i]) {
        any_unwritten = true;
      } else {
        size_t differing = 0;
        for (size_t k = j; k < allocation.bytes; ++k) differing += snapshot.first[k] != allocation.data[k];
        return "byte " + std::to_string(j) + " of allocation " + std::to_string(allocation.number) + " (" +
               std::to_string(allocation.bytes) + " bytes) is " + std::to_string(static_cast<unsigned char>(first)) +
               " after one and " + std::to_string(static_cast<unsigned char>(second)) + " after the other run, " +
               std::to_string(differing) + " bytes differ from there on";
      }
    }
  }
  if (!any_unwritten) unwritten = {};
  return "";
}

}  // namespace

std::string run_checked(const Kernel& kernel, dim3 grid, dim3 block, size_t dynamic_bytes, size_t shared_limit) {
  std::vector<Snapshot> snapshots;
  for (Allocation* allocation : DeviceMemory::instance().reachable(kernel.call, kernel.call_bytes)) {
    find_writes(*allocation);
    snapshots.push_back({allocation, {allocation->data, allocation->data + allocation->bytes}, {}});
  }

  Grid first(kernel, grid, block, dynamic_bytes, shared_limit, {.one_thread = true});
  if (!first.run()) return first.failure();
  for (Snapshot& snapshot : snapshots) {
    Allocation& allocation = *snapshot.allocation;
    snapshot.first.assign(allocation.data, allocation.data + allocation.bytes);
    std::copy(snapshot.before.begin(), snapshot.before.end(), allocation.data);
    snapshot.before = {};
    change_garbage(allocation);
  }

  Grid second(kernel, grid, block, dynamic_bytes, shared_limit,
              {.descending = true, .copies_at_once = true, .other_garbage = true, .one_thread = true});
  std::string problem;
  if (!second.run()) problem = second.failure();
  for (Snapshot& snapshot : snapshots) {
    if (problem.empty()) {
      const std::string difference = compare(snapshot);
      if (!difference.empty())
        problem =
            "kernel " + kernel_name(kernel.address) +
            ": its result depends on the order of threads, on when cp.async lands, or on memory that nobody wrote: " + difference;
    }
    // Memory stays as the first run left it, with the first garbage where nobody has written.
    if (!problem.empty() || !snapshot.allocation->unwritten.empty())
      std::copy(snapshot.first.begin(), snapshot.first.end(), snapshot.allocation->data);
  }
  return problem;
}

}  // namespace star::simt
