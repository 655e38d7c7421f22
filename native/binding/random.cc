#include "binding/call.h"
#include "binding/families.h"

namespace star {

void define_random(Napi::Object) {}

}  // namespace star
