// Ops without a kernel yet. Each line goes when its family lands.
#include "core/error.h"
#include "cuda/cuda_backend.h"

namespace star {

void CudaBackend::resample(const ResampleArgs&) { fail(ErrorCode::Device, "resample is missing"); }
void CudaBackend::resample_backward(const ResampleBackwardArgs&) { fail(ErrorCode::Device, "resample_backward is missing"); }
void CudaBackend::reduce(const ReduceArgs&) { fail(ErrorCode::Device, "reduce is missing"); }
void CudaBackend::random(const RandomArgs&) { fail(ErrorCode::Device, "random is missing"); }
void CudaBackend::layer_norm(const LayerNormArgs&) { fail(ErrorCode::Device, "layer_norm is missing"); }
void CudaBackend::layer_norm_backward(const LayerNormBackwardArgs&) { fail(ErrorCode::Device, "layer_norm_backward is missing"); }
void CudaBackend::group_norm(const GroupNormArgs&) { fail(ErrorCode::Device, "group_norm is missing"); }
void CudaBackend::group_norm_backward(const GroupNormBackwardArgs&) { fail(ErrorCode::Device, "group_norm_backward is missing"); }
void CudaBackend::softmax(const SoftmaxArgs&) { fail(ErrorCode::Device, "softmax is missing"); }
void CudaBackend::softmax_backward(const SoftmaxBackwardArgs&) { fail(ErrorCode::Device, "softmax_backward is missing"); }
void CudaBackend::embedding(const EmbeddingArgs&) { fail(ErrorCode::Device, "embedding is missing"); }
void CudaBackend::embedding_backward(const EmbeddingBackwardArgs&) { fail(ErrorCode::Device, "embedding_backward is missing"); }
void CudaBackend::nearest_row(const NearestRowArgs&) { fail(ErrorCode::Device, "nearest_row is missing"); }
void CudaBackend::draw(const DrawArgs&) { fail(ErrorCode::Device, "draw is missing"); }
void CudaBackend::gumbel_mix(const GumbelMixArgs&) { fail(ErrorCode::Device, "gumbel_mix is missing"); }
void CudaBackend::cross_entropy(const CrossEntropyArgs&) { fail(ErrorCode::Device, "cross_entropy is missing"); }
void CudaBackend::cross_entropy_backward(const CrossEntropyBackwardArgs&) {
  fail(ErrorCode::Device, "cross_entropy_backward is missing");
}
void CudaBackend::global_norm(const GlobalNormArgs&) { fail(ErrorCode::Device, "global_norm is missing"); }
void CudaBackend::finite(const FiniteArgs&) { fail(ErrorCode::Device, "finite is missing"); }
void CudaBackend::adamw(const AdamWArgs&) { fail(ErrorCode::Device, "adamw is missing"); }
void CudaBackend::unmask(const UnmaskArgs&) { fail(ErrorCode::Device, "unmask is missing"); }

}  // namespace star
