// CUDA graphs: work of the stream that is recorded once and launched as a whole afterwards, without the host's part of each
// kernel launch. Allocations in between become nodes of the graph (stream-ordered allocator).
#include "cuda/cuda_backend.h"
#include "cuda/launch.h"

namespace star {

void CudaBackend::begin_capture() {
  std::unique_lock lock(mutex_);
  refuse_in_recording("begin of a graph");
  // Relaxed: other threads of the process may continue to call CUDA.
  check_cuda(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed), "begin of a graph");
  recording_ = true;
  lock.release();  // until the end of the recording
}

int64_t CudaBackend::end_capture(bool keep) {
  std::unique_lock own(mutex_);
  if (!recording_) fail(ErrorCode::Argument, "end of a graph: no recording has begun");
  const std::unique_lock lock(mutex_, std::adopt_lock);  // taken when it began
  recording_ = false;
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream(), &graph);
  if (!keep) {  // after an error: that error counts, whatever became of the recording
    cudaGetLastError();
    if (graph) cudaGraphDestroy(graph);
    return 0;
  }
  check_cuda(ended, "end of a graph");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda(made, "end of a graph");
  graphs_.emplace(++last_graph_, executable);
  return last_graph_;
}

void CudaBackend::launch_graph(int64_t graph) {
  const std::lock_guard lock(mutex_);
  refuse_in_recording("launch of a graph");
  const auto found = graphs_.find(graph);
  if (found == graphs_.end()) fail(ErrorCode::Argument, "graph %lld was destroyed or never made", static_cast<long long>(graph));
  check_cuda(cudaGraphLaunch(found->second, stream()), "launch of a graph");
}

void CudaBackend::destroy_graph(int64_t graph) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = graphs_.find(graph);
  if (found == graphs_.end()) return;
  cudaGraphExecDestroy(found->second);
  graphs_.erase(found);
}

}  // namespace star
