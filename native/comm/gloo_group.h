// Process groups over TCP between CPUs, with Gloo's collectives.
#pragma once

#include "comm/membership.h"
#include "comm/process_group.h"

namespace star {

// Meets the other ranks at the store, whose server runs in rank 0's process, and connects to all of them. Throws ERR_COMM when
// one does not come in time, is there twice, or counts other processes.
std::shared_ptr<ProcessGroup> make_gloo_group(const GroupOptions& options);

}  // namespace star
