#include "binding/call.h"
#include "binding/families.h"

namespace star {

void define_layout(Napi::Object) {}

}  // namespace star
