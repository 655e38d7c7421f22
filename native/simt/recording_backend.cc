#include "simt/recording_backend.h"

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "core/error.h"

namespace star::simt {

void RecordingBackend::add(const char* op, const Cost& cost, uint64_t launches, uint64_t library_calls) {
  Entry& entry = entries_[std::string(op) + " " + cost.shape + " " + dtype_name(cost.dtype)];
  entry.op = op;
  entry.cost.shape = cost.shape;
  entry.cost.dtype = cost.dtype;
  entry.cost.operations += cost.operations;
  entry.cost.bytes += cost.bytes;
  entry.calls += 1;
  entry.launches += launches;
  entry.library_calls += library_calls;
}

std::string RecordingBackend::take_record() {
  std::string text = "{\"ops\":[";
  for (const auto& [_, entry] : entries_) {
    char line[512];
    std::snprintf(line, sizeof line,
                  "%s{\"op\":\"%s\",\"shape\":\"%s\",\"dtype\":\"%s\",\"calls\":%" PRIu64
                  ",\"operations\":%.17g,\"bytes\":%.17g,\"launches\":%" PRIu64 ",\"libraryCalls\":%" PRIu64 "}",
                  text.back() == '[' ? "" : ",", entry.op.c_str(), entry.cost.shape.c_str(), dtype_name(entry.cost.dtype),
                  entry.calls, entry.cost.operations, entry.cost.bytes, entry.launches, entry.library_calls);
    text += line;
  }
  entries_.clear();
  const uint64_t waits = counts().host_waits, graphs = counts().graph_launches;
  text += "],\"hostWaits\":" + std::to_string(waits - host_waits_) +
          ",\"graphLaunches\":" + std::to_string(graphs - graph_launches_) + "}";
  host_waits_ = waits;
  graph_launches_ = graphs;
  return text;
}

void RecordingBackend::synchronize() {
  const char* const file = std::getenv("STAR_SIMT_RECORD");
  if (!file || *file == '\0') return CudaBackend::synchronize();
  const std::string record = take_record();
  CudaBackend::synchronize();
  host_waits_ = counts().host_waits;  // this one belongs to nobody's run
  std::ofstream stream(file, std::ios::app);
  stream << record << '\n';
  if (!stream.flush()) fail(ErrorCode::File, "STAR_SIMT_RECORD: %s cannot be written", file);
}

}  // namespace star::simt
