// star_simt.so as a plugin.
#include "core/plugin.h"

#include "cuda/cuda_backend.h"

STAR_PLUGIN(new star::CudaBackend("simt"))
