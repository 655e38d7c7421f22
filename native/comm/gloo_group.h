// Process groups over TCP between CPUs, with Gloo's collectives.
#pragma once

#include <chrono>
#include <string>

#include "comm/process_group.h"
#include "comm/store_client.h"

namespace star {

struct GlooOptions {
  int rank = 0, size = 1;
  StoreAddress store;
  // How long a collective waits for the others, and how long the start does.
  std::chrono::milliseconds timeout{300000};
};

// Meets the other ranks at the store, whose server runs in rank 0's process, and connects to all of them. Throws ERR_COMM when
// one does not come in time, is there twice, or counts other processes.
std::shared_ptr<ProcessGroup> make_gloo_group(const GlooOptions& options);

}  // namespace star
