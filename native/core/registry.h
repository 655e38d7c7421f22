// The backends of this process by name. The CPU backend registers itself when the addon loads; others are plugins.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"

namespace star {

// Throws ERR_DEVICE if there is a backend of this name. May be called on any thread, like the others.
void register_backend(std::unique_ptr<Backend> backend);
Backend& backend(const std::string& name);  // throws ERR_DEVICE naming the known and the available ones
std::vector<Backend*> backends();

}  // namespace star
