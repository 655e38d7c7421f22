// What the addon calls after loading star_simt.so, and native tests instead.
#include "cuda/cuda_backend.h"

extern "C" __attribute__((visibility("default"))) star::Backend* star_create_backend() { return new star::CudaBackend("simt"); }
