// Links the native tests with the CPU backend.
#include "core/plugin.h"

#include "cpu/cpu_backend.h"

STAR_PLUGIN(new star::CpuBackend())
