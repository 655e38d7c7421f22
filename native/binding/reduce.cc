#include "binding/call.h"
#include "binding/families.h"

namespace star {

void define_reduce(Napi::Object) {}

}  // namespace star
