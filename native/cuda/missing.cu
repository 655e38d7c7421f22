// Ops without a kernel yet. Each line goes when its family lands.
#include "core/error.h"
#include "cuda/cuda_backend.h"

namespace star {

void CudaBackend::resample(const ResampleArgs&) { fail(ErrorCode::Device, "resample is missing"); }
void CudaBackend::resample_backward(const ResampleBackwardArgs&) { fail(ErrorCode::Device, "resample_backward is missing"); }
void CudaBackend::random(const RandomArgs&) { fail(ErrorCode::Device, "random is missing"); }
void CudaBackend::embedding(const EmbeddingArgs&) { fail(ErrorCode::Device, "embedding is missing"); }
void CudaBackend::embedding_backward(const EmbeddingBackwardArgs&) { fail(ErrorCode::Device, "embedding_backward is missing"); }
void CudaBackend::nearest_row(const NearestRowArgs&) { fail(ErrorCode::Device, "nearest_row is missing"); }
void CudaBackend::draw(const DrawArgs&) { fail(ErrorCode::Device, "draw is missing"); }
void CudaBackend::gumbel_mix(const GumbelMixArgs&) { fail(ErrorCode::Device, "gumbel_mix is missing"); }
void CudaBackend::unmask(const UnmaskArgs&) { fail(ErrorCode::Device, "unmask is missing"); }

}  // namespace star
