#include "bench.h"

#include <algorithm>
#include <cstdio>

#include "cuda/launch.h"

namespace star::bench {

int64_t Model::tokens() const {
  int64_t count = 0;
  for (const int64_t side : sides) count += side * side;
  return count;
}
int64_t Model::last() const { return static_cast<int64_t>(sides.back()) * sides.back(); }
std::vector<int32_t> Model::limits() const {
  std::vector<int32_t> limits;
  for (const int32_t side : sides) {
    const auto end = static_cast<int32_t>(limits.size()) + side * side;
    limits.resize(static_cast<size_t>(end), end);
  }
  return limits;
}

void Fields::key(const char* name) {
  if (!text_.empty()) text_ += ", ";
  text_ += '"' + std::string(name) + "\": ";
}
Fields& Fields::add(const char* name, double value) {
  key(name);
  char number[32];
  std::snprintf(number, sizeof number, "%.15g", value);
  text_ += number;
  return *this;
}
Fields& Fields::add(const char* name, const std::vector<int32_t>& values) {
  key(name);
  std::string list;
  for (const int32_t value : values) list += (list.empty() ? "" : ", ") + std::to_string(value);
  text_ += "[" + list + "]";
  return *this;
}

Ref Arena::empty(int64_t count, DType dtype) {
  tensors_.push_back(Tensor::empty(backend, {count}, dtype));
  return tensors_.back().ref();
}
Ref Arena::values(int64_t count, DType dtype, float low, float high) {
  const Tensor uniform = Tensor::empty(backend, {count}, DType::F32);
  backend.random({uniform.ref(), RandomKind::Uniform, low, high, seed_++, 0, count});
  if (dtype == DType::F32) return tensors_.emplace_back(uniform).ref();
  const Ref y = empty(count, dtype);
  backend.cast({y, uniform.ref(), count});
  return y;
}
Ref Arena::indices(int64_t count, int64_t below) {
  std::vector<int32_t> values(static_cast<size_t>(count));
  uint32_t state = 1;
  for (int32_t& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<int32_t>((static_cast<uint64_t>(state) * static_cast<uint64_t>(below)) >> 32);
  }
  return upload(values);
}
Ref Arena::upload(const std::vector<int32_t>& values) {
  const Ref y = empty(static_cast<int64_t>(values.size()), DType::I32);
  backend.copy_from_host(y.data, values.data(), values.size() * sizeof(int32_t));
  return y;
}

Timer::Timer(CudaBackend& backend, bool smoke)
    : backend_(backend),
      smoke_(smoke),
      // Written between repeats, which drives everything else out of the cache.
      flush_(Tensor::empty(backend, {smoke ? 4096 : int64_t{2} * backend.properties().l2CacheSize}, DType::U8)) {
  check_cuda(cudaEventCreate(&begin_), "event");
  check_cuda(cudaEventCreate(&end_), "event");
}
Timer::~Timer() {
  cudaEventDestroy(begin_);
  cudaEventDestroy(end_);
}

double Timer::milliseconds(const std::function<void()>& work) {
  // The first calls load kernels, choose algorithms and fill the memory pool.
  for (int i = 0; i < (smoke_ ? 1 : 3); ++i) work();
  backend_.synchronize();
  std::vector<float> times;
  double total = 0;
  const auto enough = [&] { return smoke_ || (times.size() >= 7 && (total > 300 || times.size() >= 51)); };
  do {
    backend_.fill({flush_.ref(), 0, flush_.count()});
    check_cuda(cudaEventRecord(begin_, backend_.stream()), "event");
    work();
    check_cuda(cudaEventRecord(end_, backend_.stream()), "event");
    check_cuda(cudaEventSynchronize(end_), "event");
    float ms = 0;
    check_cuda(cudaEventElapsedTime(&ms, begin_, end_), "event");
    times.push_back(ms);
    total += ms;
  } while (!enough());
  backend_.synchronize();  // throws what kernels found wrong with their values
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

namespace {

double matmul_rate(CudaBackend& backend, Timer& timer, int64_t n, DType dtype) {
  Arena arena(backend);
  const Ref a = arena.values(n * n, dtype), b = arena.values(n * n, dtype), c = arena.empty(n * n, dtype);
  MatmulArgs args{};
  args.a = a;
  args.b = b;
  args.c = c;
  args.batch = 1;
  args.m = args.n = args.k = n;
  args.trans_b = true;
  const auto size = static_cast<double>(n);
  return 2 * size * size * size / timer.milliseconds([&] { backend.matmul(args); });
}

}  // namespace

Rates measure_rates(CudaBackend& backend, Timer& timer, bool smoke) {
  const size_t bytes = size_t{1} << (smoke ? 16 : 30);
  double bytes_per_ms;
  {
    Arena arena(backend);
    const Ref from = arena.values(static_cast<int64_t>(bytes / 4)), to = arena.empty(static_cast<int64_t>(bytes / 4));
    bytes_per_ms = 2.0 * static_cast<double>(bytes) / timer.milliseconds([&] { backend.copy(to.data, from.data, bytes); });
  }
  return {bytes_per_ms, matmul_rate(backend, timer, smoke ? 64 : 8192, DType::BF16),
          matmul_rate(backend, timer, smoke ? 64 : 4096, DType::F32)};
}

}  // namespace star::bench
