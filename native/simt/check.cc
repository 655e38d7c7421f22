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
  if (allocation.unwritten.empty() && std::memcmp(snapshot.first.data(), allocation.data, allocation.bytes) == 0) return "";
  bool any_unwritten = false;
  for (size_t i = 0; i < allocation.bytes; ++i) {
    const auto first = static_cast<unsigned char>(snapshot.first[i]), second = static_cast<unsigned char>(allocation.data[i]);
    const bool unwritten = !allocation.unwritten.empty() && allocation.unwritten[i];
    if (first == second) {
      if (unwritten) allocation.unwritten[i] = 0;
      continue;
    }
    unsigned char garbage = 0;
    fill_garbage(&garbage, 1, true, allocation.number, i);
    if (unwritten && first == 0xff && second == garbage) {
      any_unwritten = true;
      continue;
    }
    size_t differing = 0;
    for (size_t j = i; j < allocation.bytes; ++j) differing += snapshot.first[j] != allocation.data[j];
    return "byte " + std::to_string(i) + " of allocation " + std::to_string(allocation.number) + " (" +
           std::to_string(allocation.bytes) + " bytes) is " + std::to_string(first) + " after one and " + std::to_string(second) +
           " after the other run, " + std::to_string(differing) + " bytes differ from there on";
  }
  if (!any_unwritten) allocation.unwritten = {};
  return "";
}

}  // namespace

std::string run_checked(const Kernel& kernel, dim3 grid, dim3 block, size_t dynamic_bytes, size_t shared_limit) {
  std::vector<Snapshot> snapshots;
  for (auto& [address, allocation] : DeviceMemory::instance().allocations())
    snapshots.push_back({&allocation, {allocation.data, allocation.data + allocation.bytes}, {}});

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
