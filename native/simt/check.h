// The checks of STAR_SIMT_CHECK=1: each launch runs twice from the same memory, in opposite orders and with other garbage where
// nobody has written, and must leave the same bytes.
//
// What this does not find: threads that add to the same integer without an atomic. A fiber runs until it waits, so in either
// order no thread comes between another's load and its store, and a sum of integers is the same both ways; on a GPU additions get
// lost. (Of floats the order shows in the last bits, and what is stored rather than added to differs.) Seeing it would take a
// switch of threads at every access, which plain C++ pointers do not tell of: counts that threads share must use atomicAdd, and
// compute-sanitizer's racecheck is the tool for it on a GPU.
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
