#include "binding/call.h"
#include "binding/families.h"

namespace star {

void define_conv(Napi::Object) {}

}  // namespace star
