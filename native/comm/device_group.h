// Process groups of GPUs, with the collectives of their backend (NCCL).
#pragma once

#include "comm/membership.h"
#include "comm/process_group.h"

namespace star {

// Meets the other ranks at the store, whose server runs in rank 0's process, and connects the device to theirs. Throws ERR_COMM
// when one does not come in time, is there twice, or counts other processes.
std::shared_ptr<ProcessGroup> make_device_group(Backend& backend, const GroupOptions& options);

}  // namespace star
