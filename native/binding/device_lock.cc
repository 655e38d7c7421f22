#include "binding/device_lock.h"

#include <map>

namespace star {

namespace {

struct Device {
  std::recursive_mutex mutex;
  bool recording = false;  // guarded by `mutex`, which a recording holds once more
};

Device& device_of(const Backend& backend) {
  static auto* const mutex = new std::mutex;  // guards the map; both outlive the threads that Node ends last
  static auto* const devices = new std::map<const Backend*, Device>;
  const std::lock_guard lock(*mutex);
  return (*devices)[&backend];
}

}  // namespace

DeviceLock lock_device(const Backend& backend) {
  return backend.can_capture() ? DeviceLock(device_of(backend).mutex) : DeviceLock();
}

void keep_for_recording(const Backend& backend, DeviceLock lock) {
  device_of(backend).recording = true;
  lock.release();
}

DeviceLock take_back_from_recording(const Backend& backend) {
  Device& device = device_of(backend);
  const DeviceLock lock(device.mutex);
  if (!device.recording) return {};
  device.recording = false;
  return DeviceLock(device.mutex, std::adopt_lock);
}

}  // namespace star
