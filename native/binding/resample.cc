#include "binding/call.h"
#include "binding/families.h"

namespace star {

void define_resample(Napi::Object) {}

}  // namespace star
