#include "core/registry.h"

#include <cstring>
#include <mutex>

#include "core/error.h"

namespace star {

namespace {
// Leaked on purpose: tensors kept by JavaScript may outlive static destruction and still need their backend.
std::vector<std::unique_ptr<Backend>>& all() {
  static auto* list = new std::vector<std::unique_ptr<Backend>>();
  return *list;
}
std::mutex mutex;  // guards the list; the backends in it stay for ever
}  // namespace

void register_backend(std::unique_ptr<Backend> backend) {
  const std::lock_guard<std::mutex> lock(mutex);
  for (auto& other : all())
    if (std::strcmp(other->name(), backend->name()) == 0)
      fail(ErrorCode::Device, "there is a device '%s' already: only one plugin can bring it", backend->name());
  all().push_back(std::move(backend));
}

Backend& backend(const std::string& name) {
  std::string known;
  for (Backend* candidate : backends()) {
    if (name == candidate->name()) {
      std::string reason;
      if (!candidate->available(&reason))
        fail(ErrorCode::Device, "device '%s' is not available: %s", name.c_str(), reason.c_str());
      return *candidate;
    }
    known += (known.empty() ? "" : ", ") + std::string(candidate->name());
  }
  fail(ErrorCode::Device, "unknown device '%s': this build knows %s", name.c_str(), known.c_str());
}

std::vector<Backend*> backends() {
  const std::lock_guard<std::mutex> lock(mutex);
  std::vector<Backend*> list;
  for (auto& backend : all()) list.push_back(backend.get());
  return list;
}

}  // namespace star
