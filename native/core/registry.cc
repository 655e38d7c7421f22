#include "core/registry.h"

#include "core/error.h"

namespace star {

namespace {
// Leaked on purpose: tensors kept by JavaScript may outlive static destruction and still need their backend.
std::vector<std::unique_ptr<Backend>>& all() {
  static auto* list = new std::vector<std::unique_ptr<Backend>>();
  return *list;
}
}  // namespace

void register_backend(std::unique_ptr<Backend> backend) { all().push_back(std::move(backend)); }

Backend& backend(const std::string& name) {
  std::string known;
  for (auto& candidate : all()) {
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
  std::vector<Backend*> list;
  for (auto& backend : all()) list.push_back(backend.get());
  return list;
}

}  // namespace star
