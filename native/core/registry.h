// The backends of this process by name. The CPU backend registers itself when the addon loads; others are plugins.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"

namespace star {

void register_backend(std::unique_ptr<Backend> backend);
Backend& backend(const std::string& name);  // throws ERR_DEVICE naming the known and the available ones
std::vector<Backend*> backends();

}  // namespace star
