// Threads of one process that share a device: their calls follow one another, and none comes into another's recording.
#pragma once

#include <mutex>

#include "core/backend.h"

namespace star {

// Held for the length of a call that gives work to the backend. Nothing is held for a backend that records no graphs: it does its
// work in the call and keeps nothing between calls.
using DeviceLock = std::unique_lock<std::recursive_mutex>;
DeviceLock lock_device(const Backend& backend);

// From the begin of a recording to its end the thread keeps its lock between the calls.
void keep_for_recording(const Backend& backend, DeviceLock lock);
DeviceLock take_back_from_recording(const Backend& backend);  // empty where none was kept

}  // namespace star
