// Streams and graphs: lists of work that is done at once, or kept while the stream is capturing.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "simt/api.h"

// What a capture kept: the work in order, and the memory it allocated, which lives as long as the graph.
struct CUgraph_st {
  std::vector<std::function<cudaError_t()>> work;
  std::vector<std::shared_ptr<void>> memory;
};

struct CUgraphExec_st {
  CUgraph_st graph;
};

struct CUstream_st {
  bool capturing = false;
  bool invalidated = false;  // the capture: something was asked for that cannot be recorded
  CUgraph_st captured;
  // Work that does not end (a collective whose peers are lost): events behind it are not reached, and whoever waits for the
  // stream waits until this becomes false.
  std::shared_ptr<std::atomic<bool>> held;
};

namespace star::simt {

// Ends the stream's capture in error, as a call does that cannot be recorded; returns what such a call returns.
cudaError_t invalidate_capture(cudaStream_t stream);

// Does the work, or keeps it for the graph.
cudaError_t submit(cudaStream_t stream, std::function<cudaError_t()> work);

// Remembers an error for cudaGetLastError and returns it.
cudaError_t report(cudaError_t error);
// The same for a failed launch, with the text of cudaGetErrorString.
cudaError_t report_failure(const std::string& text);

}  // namespace star::simt
