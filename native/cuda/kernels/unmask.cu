// Stable sampling: which positions of a token map are fixed in a step. One block a row, nothing sorted.
#include "cuda/cuda_backend.h"
#include "cuda/device/select.cuh"
#include "cuda/launch.h"

namespace star {

namespace {

// Keys in the order of falling scores; equal scores have equal keys. Not a number counts as −∞.
__device__ __forceinline__ uint32_t falling_key(float score) {
  const float x = score == score ? score + 0.0f : -INFINITY;  // −0 becomes 0
  const uint32_t bits = __float_as_uint(x);
  return ~(bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u));
}

__global__ void __launch_bounds__(kSelectThreads, 3)
    unmask_kernel(int32_t* ids, uint8_t* known, const int32_t* drawn, const float* score, int64_t length, int64_t fix,
                  bool among_all) {
  STAR_SHARED(SelectSpace, space, );
  const int64_t row = static_cast<int64_t>(blockIdx.x) * length;
  ids += row, known += row, drawn += row, score += row;
  const auto candidate = [&](int64_t i) { return among_all || !known[i]; };

  uint64_t own = 0;
  for (int64_t i = threadIdx.x; i < length; i += kSelectThreads) own += candidate(i);
  const uint64_t candidates = block_total(space, own);
  const uint64_t wanted = static_cast<uint64_t>(fix);
  // Chosen are candidates with a smaller key than `key`, and of those with this key the ones up to position `last`.
  uint32_t key = 0xffffffffu, last = 0xffffffffu;
  if (wanted < candidates) {
    const auto weight = [&](int64_t i) { return static_cast<uint64_t>(candidate(i)); };
    const Selected border = select(
        space, length, 32, [&](int64_t i) { return falling_key(score[i]); }, weight, wanted - 1);
    key = border.key;
    const auto equal = [&](int64_t i) { return static_cast<uint64_t>(candidate(i) && falling_key(score[i]) == key); };
    last = select(
               space, length, 32, [](int64_t i) { return static_cast<uint32_t>(i); }, equal, wanted - 1 - border.below)
               .key;
  }
  __syncthreads();  // `known` is read by all before it is written
  for (int64_t i = threadIdx.x; i < length; i += kSelectThreads) {
    if (known[i]) continue;
    const uint32_t own_key = falling_key(score[i]);
    if (own_key > key || (own_key == key && static_cast<uint64_t>(i) > last)) continue;
    ids[i] = drawn[i];
    known[i] = 1;
  }
}

// ---------------------------------------------------------------------------------------------------------------------------

}  // namespace

void CudaBackend::unmask(const UnmaskArgs& a) {
  if (a.fix == 0 || a.length == 0) return;
  launch("unmask", unmask_kernel, {dim3(blocks_for(a.rows, 1)), dim3(kSelectThreads)}, stream(), a.ids.i32(), a.known.u8(),
         a.drawn.i32(), a.score.f32(), a.length, a.fix, a.among_all);
}

}  // namespace star
