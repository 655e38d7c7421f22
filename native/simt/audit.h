// The audit of STAR_SIMT_AUDIT=1: launches and library calls are checked and counted, and not done. Memory is reserved and not
// touched, so that runs of any size pass through on a small machine.
//
// A launch is tried on its first and last block, on memory that holds zeros where nobody wrote: that finds how much shared memory
// it takes, barriers that a part of the threads reaches, and misaligned vectors. This is done for every pattern of alignments of
// its pointers and for its first shapes, not for each of its launches. Pointers must lie in memory that is allocated at the
// moment of the launch. Copies of up to kSmallCopy bytes are done, so that flags, ids and sizes have their values.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "simt/grid.h"

namespace star::simt {

constexpr size_t kSmallCopy = 1 << 20;

// Whether the environment asks for the audit; read at every call, so that a test can turn it on.
bool audit_enabled();

// Checks the launch; returns what was wrong, or nothing.
std::string audit_launch(const Kernel& kernel, dim3 grid, dim3 block, size_t dynamic_bytes, size_t shared_limit);

// What has been given to the device since the process started, counted in every mode.
struct Counts {
  std::atomic<uint64_t> launches{0};       // of our kernels
  std::atomic<uint64_t> library_calls{0};  // products and convolutions
  std::atomic<uint64_t> host_waits{0};     // the host waited for the stream or for an event behind its work
  std::atomic<uint64_t> graph_launches{0};
  std::atomic<uint64_t> property_calls{0};  // of cudaGetDeviceProperties, which takes milliseconds on some drivers
};
Counts& counts();

}  // namespace star::simt
