#include "simt/stream.h"

#include <chrono>
#include <thread>
#include <utility>

#include "simt/audit.h"

using star::simt::report;

struct CUevent_st {
  std::chrono::steady_clock::time_point time;
  std::shared_ptr<std::atomic<bool>> held;  // of the stream that recorded it
  cudaStream_t capture = nullptr;           // that it was recorded in last: then nobody may wait for it
};

namespace {

void wait_while(const std::shared_ptr<std::atomic<bool>>& held) {
  while (held && *held) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

cudaError_t refuse_captured(cudaEvent_t event) {
  if (event->capture->capturing) event->capture->invalidated = true;
  return report(cudaErrorCapturedEvent);
}

}  // namespace

namespace star::simt {

cudaError_t invalidate_capture(cudaStream_t stream) {
  stream->invalidated = true;
  return report(cudaErrorStreamCaptureUnsupported);
}

cudaError_t submit(cudaStream_t stream, std::function<cudaError_t()> work) {
  if (!stream || !stream->capturing) return report(work());
  if (stream->invalidated) return report(cudaErrorStreamCaptureInvalidated);
  stream->captured.work.push_back(std::move(work));
  return cudaSuccess;
}

}  // namespace star::simt

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream && stream->capturing) return star::simt::invalidate_capture(stream);
  ++star::simt::counts().host_waits;
  if (stream) wait_while(stream->held);
  return report(cudaSuccess);
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (stream && stream->held && *stream->held) return cudaErrorNotReady;
  return cudaStreamSynchronize(stream);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (!event) return report(cudaErrorInvalidResourceHandle);
  if (stream && event->held && *event->held) stream->held = event->held;
  return report(cudaSuccess);
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st{};
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (!event) return report(cudaErrorInvalidResourceHandle);
  event->held = stream ? stream->held : nullptr;
  event->capture = stream && stream->capturing ? stream : nullptr;
  return star::simt::submit(stream, [event] {
    event->time = std::chrono::steady_clock::now();
    return cudaSuccess;
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (!event) return report(cudaErrorInvalidResourceHandle);
  if (event->capture) return refuse_captured(event);
  wait_while(event->held);
  return report(cudaSuccess);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event && event->held && *event->held) return cudaErrorNotReady;
  return cudaEventSynchronize(event);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (!start || !end) return report(cudaErrorInvalidResourceHandle);
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (!stream || stream->capturing) return report(cudaErrorInvalidValue);
  stream->capturing = true;
  stream->invalidated = false;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream || !stream->capturing) return report(cudaErrorInvalidValue);
  stream->capturing = false;
  const CUgraph_st captured = std::exchange(stream->captured, {});
  *graph = nullptr;
  if (stream->invalidated) return report(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st(captured);
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = !stream || !stream->capturing ? cudaStreamCaptureStatusNone
            : stream->invalidated         ? cudaStreamCaptureStatusInvalidated
                                          : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{*graph};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (stream && stream->capturing) return star::simt::invalidate_capture(stream);
  ++star::simt::counts().graph_launches;
  for (const auto& work : executable->graph.work)
    if (const cudaError_t error = work(); error != cudaSuccess) return report(error);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
