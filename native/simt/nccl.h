// What tests see and change of the stand-in of NCCL (nccl.cc), within this process.
#pragma once

#include <nccl.h>

#include <string>
#include <vector>

namespace star::simt {

// The calls so far but for ncclCommGetAsyncError, one text each, such as "ncclAllReduce 10 of type 7". Emptied by the call.
std::vector<std::string> nccl_calls();

// The next call of the function gives this result and does nothing.
void nccl_fail(const std::string& function, ncclResult_t result);
// From now on the communicators' state is this, as after a network error.
void nccl_break(ncclResult_t state);
// The next collective never ends on its stream, as when a rank is lost: until its communicator is aborted.
void nccl_hang();

}  // namespace star::simt
