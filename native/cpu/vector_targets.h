// Instruction sets the Highway files that keep vectors in arrays are compiled for: those whose vectors have a size known at
// compile time. Include it before <hwy/foreach_target.h>.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3)
