#include "binding/call.h"
#include "binding/families.h"

namespace star {

void define_norm(Napi::Object) {}

}  // namespace star
