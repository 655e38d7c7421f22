// star_gpu_bench [--json] [--smoke]: a table, or with --json a line about the card and then one line a case. --smoke takes tiny
// shapes and a single repeat: it shows that every case runs, its times mean nothing.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>

#include "bench.h"
#include "core/error.h"

extern "C" star::Backend* star_create_backend();

namespace star::bench {
namespace {

// The published models at their smallest and their largest resolution; samples as one card of 80 GB has room for.
std::vector<Model> models(bool smoke) {
  if (smoke) return {{"smoke", 1, 2, 5, {1, 2, 3}, 40, 8, 32, 4}};
  return {{"d16-256", 16, 8, 77, {1, 2, 3, 4, 5, 6, 8, 10, 13, 16}, 4096, 32, 160, 256},
          {"d30-1024", 30, 2, 77, {1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64}, 4096, 32, 160, 1024}};
}

Cases all_cases(const std::vector<Model>& models) {
  Cases cases;
  for (const Model& model : models) {
    add_attention(cases, model);
    add_norms(cases, model);
    add_tokens(cases, model);
    add_images(cases, model);
    add_dense(cases, model);
    add_elementwise(cases, model);
  }
  add_optimizer(cases, models.front());
  return cases;
}

struct Result {
  double ms, floor;
  const char* bound;
};
Result measure(CudaBackend& backend, Timer& timer, const Rates& rates, const Case& c) {
  Arena arena(backend);
  const double ms = timer.milliseconds(c.prepare(arena));
  const double moving = c.bytes / rates.bytes_per_ms;
  const double computing = c.operations / (c.dtype == DType::F32 ? rates.f32_operations_per_ms : rates.bf16_operations_per_ms);
  return {ms, std::max(moving, computing), moving >= computing ? "memory" : "compute"};
}

void run(bool json, bool smoke) {
  const std::unique_ptr<Backend> owner(star_create_backend());
  auto& backend = static_cast<CudaBackend&>(*owner);
  std::string reason;
  if (!backend.available(&reason)) fail(ErrorCode::Device, "%s cannot be used: %s", backend.name(), reason.c_str());
  Timer timer(backend, smoke);
  const Rates rates = measure_rates(backend, timer, smoke);
  const double copy = rates.bytes_per_ms / 1e6, bf16 = rates.bf16_operations_per_ms / 1e9,
               f32 = rates.f32_operations_per_ms / 1e9;
  if (json) {
    std::printf("{\"card\": \"%s\", \"copy_gb_s\": %.6g, \"bf16_tflop_s\": %.6g, \"f32_tflop_s\": %.6g}\n",
                backend.description().c_str(), copy, bf16, f32);
  } else {
    std::printf("%s\ncopy %.0f GB/s, matmul bf16 %.1f TFLOP/s, f32 %.1f TFLOP/s\n\n", backend.description().c_str(), copy, bf16,
                f32);
    std::printf("%-38s %-5s %10s %10s %8s  %s\n", "case", "dtype", "ms", "floor ms", "% floor", "bound");
  }
  for (const Case& c : all_cases(models(smoke))) {
    const Result r = measure(backend, timer, rates, c);
    const double percent = 100 * r.floor / r.ms;
    if (json)
      std::printf(
          "{\"case\": \"%s\", \"op\": \"%s\", \"dtype\": \"%s\", \"fields\": %s, \"ms\": %.6g, \"floor_ms\": %.6g, "
          "\"percent\": %.4g, \"bound\": \"%s\"}\n",
          c.name.c_str(), c.op.c_str(), dtype_name(c.dtype), c.fields.json().c_str(), r.ms, r.floor, percent, r.bound);
    else
      std::printf("%-38s %-5s %10.4f %10.4f %8.1f  %s\n", c.name.c_str(), dtype_name(c.dtype), r.ms, r.floor, percent, r.bound);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace star::bench

int main(int count, char** arguments) {
  bool json = false, smoke = false;
  for (int i = 1; i < count; ++i) {
    if (!std::strcmp(arguments[i], "--json")) {
      json = true;
    } else if (!std::strcmp(arguments[i], "--smoke")) {
      smoke = true;
    } else {
      std::fprintf(stderr, "star_gpu_bench: unknown argument %s, expected --json or --smoke\n", arguments[i]);
      return 2;
    }
  }
  try {
    star::bench::run(json, smoke);
  } catch (const star::Error& error) {
    std::fprintf(stderr, "star_gpu_bench: %s: %s\n", star::error_code_name(error.code()), error.what());
    return 1;
  }
}
