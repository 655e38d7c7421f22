// The checks of STAR_SIMT_CHECK=1: each launch runs twice from the same memory, in opposite orders and with other garbage where
// nobody has written, and must leave the same bytes.
#pragma once

#include <cstddef>
#include <string>

#include "simt/grid.h"

namespace star::simt {

// Whether the environment asks for the checks; read at every call, so that a test can turn them on.
bool checks_enabled();

// Runs the kernel both ways; returns what was wrong, or nothing.
std::string run_checked(const Kernel& kernel, dim3 grid, dim3 block, size_t dynamic_bytes, size_t shared_limit);

}  // namespace star::simt
